"""Resampling against the plain definition: zero-insert, pad, correlate, keep each second."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from worker.engine.gpen.layers import Blur, EqualConv2d, Finish, ModulatedConv2d, Upsample


def resample(x: Tensor, kernel: Tensor, up: int, down: int, pad: tuple[int, int]) -> Tensor:
    count, channels, height, width = x.shape
    spread = x.new_zeros(count, channels, height, up, width, up)
    spread[:, :, :, 0, :, 0] = x
    spread = spread.reshape(count, channels, height * up, width * up)
    padded = functional.pad(spread, (pad[0], pad[1], pad[0], pad[1]))
    weight = kernel.flip(0, 1).expand(channels, 1, 4, 4)
    return functional.conv2d(padded, weight, groups=channels)[:, :, ::down, ::down]


@pytest.fixture
def maps() -> Tensor:
    return torch.randn(2, 5, 16, 16, generator=torch.Generator().manual_seed(1))


def test_upsampling_is_zero_insertion_and_the_fir_kernel(maps: Tensor) -> None:
    layer = Upsample()
    expected = resample(maps, layer.kernel, up=2, down=1, pad=(2, 1))
    torch.testing.assert_close(layer(maps), expected)


@pytest.mark.parametrize(("pad", "down"), [(1, 1), (2, 1), (1, 2)])
def test_blurring_is_the_fir_kernel(maps: Tensor, pad: int, down: int) -> None:
    layer = Blur(pad=pad, down=down)
    expected = resample(maps, layer.kernel, up=1, down=down, pad=(pad, pad))
    torch.testing.assert_close(layer(maps), expected)


@pytest.mark.parametrize("size", [4, 64])
def test_the_run_time_scale_is_the_same_on_weights_and_on_input(size: int) -> None:
    layer = EqualConv2d(8, 8, 3, stride=1, padding=1)
    x = torch.randn(1, 8, size, size)
    expected = functional.conv2d(x, layer.weight * layer.scale, padding=1)
    torch.testing.assert_close(layer(x), expected)


@pytest.mark.parametrize("up", [False, True])
def test_one_shared_weight_equals_weights_per_sample(up: bool) -> None:
    layer = ModulatedConv2d(6, 4, 3, 16, up)
    x, latent = torch.randn(2, 6, 8, 8), torch.randn(2, 16)
    found = layer(x, latent)
    for index in range(2):
        style = layer.modulation(latent[index : index + 1])
        weight = layer.scale * layer.weight[0] * style[:, :, None, None]
        weight = weight * torch.rsqrt(weight.square().sum((1, 2, 3), keepdim=True) + 1e-8)
        sample = x[index : index + 1]
        if up:
            grown = functional.conv_transpose2d(sample, weight.transpose(0, 1), stride=2)
            expected = layer.blur(grown)
        else:
            expected = functional.conv2d(sample, weight, padding=1)
        torch.testing.assert_close(found[index : index + 1], expected, atol=1e-5, rtol=1e-4)


def test_the_last_step_sharpens_lightness_as_an_unsharp_mask_does() -> None:
    face = torch.randn(1, 1, 64, 64, generator=torch.Generator().manual_seed(2)).expand(
        1, 3, 64, 64
    )
    blurred = cv2.GaussianBlur(face[0, 0].numpy(), (0, 0), 1.5)
    wanted = face[0, 0].numpy() + 0.8 * (face[0, 0].numpy() - blurred)
    found = finish(0.8)(face, face).numpy()[0]
    inside = slice(8, -8)
    for plane in found:
        np.testing.assert_allclose(plane[inside, inside], wanted[inside, inside], atol=0.01)


def test_the_last_step_keeps_the_mean_colour_of_the_input_and_flat_areas() -> None:
    given = torch.tensor([0.5, 0.25, -0.5]).view(1, 3, 1, 1).expand(1, 3, 64, 64)
    made = torch.tensor([0.4, 0.30, -0.1]).view(1, 3, 1, 1).expand(1, 3, 64, 64)
    torch.testing.assert_close(finish(0.8)(given, made), given)


def finish(strength: float) -> Finish:
    layer = Finish()
    layer.strength.fill_(strength)
    return layer
