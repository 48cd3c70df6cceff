"""The peer: GPEN in the straightforward form, which computes weights for each face.

Each modulated convolution computes weights for every face and runs as a grouped convolution.
Resampling inserts zeros and filters plane by plane. Float32, NCHW. Written from the papers, for
the benchmark only; its output agrees with the golden vectors of the engine.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional

_ROOT2 = math.sqrt(2.0)


class Peer:
    """A generator for a state dict as published; input and output have the same size.

    Accepts and returns float32 of shape (N, 3, S, S), in [-1, 1].
    """

    def __init__(self, state: Mapping[str, Tensor]) -> None:
        self._state = state
        self._levels = sum(key.startswith("ecd") and key.endswith("bias") for key in state)
        self._mapping = sum(key.startswith("generator.style") for key in state) // 2

    @torch.inference_mode()
    def __call__(self, x: Tensor) -> Tensor:
        features: list[Tensor] = []
        for level in range(self._levels):
            x = self._down(x, f"ecd{level}.0", first=level == 0)
            features.insert(0, x)
        latent = _activate(self._linear(x.flatten(1), "final_linear.0"), 0)
        latent = self._map(latent)
        maps = [each for each in features for _ in range(2)][1:]
        start = self._state["generator.input.input"].repeat(len(latent), 1, 1, 1)
        x = self._styled(start, latent, maps[0], "generator.conv1", up=False)
        rgb = self._rgb(x, latent, "generator.to_rgb1", None)
        for level in range(self._levels - 1):
            for index, up in ((2 * level, True), (2 * level + 1, False)):
                x = self._styled(x, latent, maps[index + 1], f"generator.convs.{index}", up=up)
            rgb = self._rgb(x, latent, f"generator.to_rgbs.{level}", rgb)
        return rgb

    def _down(self, x: Tensor, block: str, *, first: bool) -> Tensor:
        if not first:
            x = resample(x, self._state[f"{block}.0.kernel"], pad=(2, 2))
        weight = self._state[f"{block}.{0 if first else 1}.weight"]
        weight = weight / math.sqrt(weight[0].numel())
        x = functional.conv2d(x, weight, stride=1 if first else 2)
        return _activate(x, self._state[f"{block}.{1 if first else 2}.bias"].view(1, -1, 1, 1))

    def _map(self, latent: Tensor) -> Tensor:
        latent = latent * torch.rsqrt(latent.square().mean(1, keepdim=True) + 1e-8)
        for layer in range(1, self._mapping + 1):
            latent = _activate(self._linear(latent, f"generator.style.{layer}", 0.01), 0)
        return latent

    def _linear(self, x: Tensor, name: str, lr_mul: float = 1.0) -> Tensor:
        weight, bias = self._state[f"{name}.weight"], self._state[f"{name}.bias"]
        return functional.linear(x, weight * (lr_mul / math.sqrt(weight.shape[1])), bias * lr_mul)

    def _modulated(
        self, x: Tensor, latent: Tensor, name: str, *, up: bool = False, demodulate: bool = True
    ) -> Tensor:
        count, inputs, height, width = x.shape
        shared = self._state[f"{name}.weight"]
        size = shared.shape[-1]
        style = self._linear(latent, f"{name}.modulation").view(count, 1, inputs, 1, 1)
        weight = shared * style / math.sqrt(inputs * size**2)
        if demodulate:
            weight = weight * torch.rsqrt(weight.square().sum((2, 3, 4), keepdim=True) + 1e-8)
        outputs = weight.shape[1]
        x = x.reshape(1, count * inputs, height, width)
        if up:
            weight = weight.transpose(1, 2).reshape(count * inputs, outputs, size, size)
            x = functional.conv_transpose2d(x, weight, stride=2, groups=count)
        else:
            weight = weight.reshape(count * outputs, inputs, size, size)
            x = functional.conv2d(x, weight, padding=size // 2, groups=count)
        x = x.view(count, outputs, *x.shape[2:])
        return resample(x, self._state[f"{name}.blur.kernel"], pad=(1, 1)) if up else x

    def _styled(self, x: Tensor, latent: Tensor, extra: Tensor, name: str, *, up: bool) -> Tensor:
        x = self._modulated(x, latent, f"{name}.conv", up=up)
        x = torch.cat((x, self._state[f"{name}.noise.weight"] * extra), 1)
        return _activate(x, self._state[f"{name}.activate.bias"].view(1, -1, 1, 1))

    def _rgb(self, x: Tensor, latent: Tensor, name: str, below: Tensor | None) -> Tensor:
        rgb = self._modulated(x, latent, f"{name}.conv", demodulate=False)
        rgb = rgb + self._state[f"{name}.bias"]
        if below is None:
            return rgb
        return rgb + resample(below, self._state[f"{name}.upsample.kernel"], up=2, pad=(2, 1))


def resample(x: Tensor, kernel: Tensor, *, pad: tuple[int, int], up: int = 1) -> Tensor:
    """Insert ``up - 1`` zeros between pixels, pad, and convolve each plane with ``kernel``."""
    count, channels, height, width = x.shape
    planes = x.reshape(count * channels, 1, height, 1, width, 1)
    planes = functional.pad(planes, (0, up - 1, 0, 0, 0, up - 1))
    planes = planes.reshape(count * channels, 1, height * up, width * up)
    planes = functional.pad(planes, (*pad, *pad))
    planes = functional.conv2d(planes, kernel.flip(0, 1)[None, None])
    return planes.reshape(count, channels, *planes.shape[2:])


def _activate(x: Tensor, bias: Tensor | float) -> Tensor:
    return functional.leaky_relu(x + bias, 0.2) * _ROOT2
