"""Enlarges a picture of any size without seams, in limited memory; can be stopped."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from shared.errors import JobCanceled, ModelUnavailable, OutOfMemory
from worker.engine.background.ncnn_weights import read_ncnn
from worker.engine.background.rrdbnet import RRDBConfig, RRDBNet, load_rrdbnet
from worker.engine.background.upscaler import OnStep, Upscaler

CPU = torch.device("cpu")
Noise = NDArray[np.uint8]
MakeUpscaler = Callable[..., Upscaler]


def levels_apart(a: NDArray[np.generic], b: NDArray[np.generic]) -> int:
    return int(np.abs(a.astype(np.int64) - b.astype(np.int64)).max())


@pytest.mark.parametrize(("fold", "average"), [(1, 1), (1, 2), (2, 1)])
def test_tiles_leave_no_seam(
    make_upscaler: MakeUpscaler, noise: Noise, fold: int, average: int
) -> None:
    done: list[int] = []
    whole = make_upscaler(fold).upscale(noise, average=average)
    tiled = make_upscaler(fold, tile_px=16 // fold).upscale(
        noise, average=average, on_pixels=lambda pixels, _: done.append(pixels)
    )
    scale = 4 // fold // average
    assert whole.shape == (75 * scale, 93 * scale, 3)
    assert len(done) > 4
    assert levels_apart(whole, tiled) <= 1
    assert whole.std() > 20  # it is a picture, not a plain


def test_too_small_a_margin_changes_the_result(make_upscaler: MakeUpscaler, noise: Noise) -> None:
    whole = make_upscaler().upscale(noise)
    assert levels_apart(whole, make_upscaler(tile_px=16, margin_px=2).upscale(noise)) > 5


def test_tiles_of_the_real_network_leave_no_seam(packaged: Path, astronaut_rows: Noise) -> None:
    """The margin is smaller than the receptive field; three tiles are compared with one."""
    state = read_ncnn(packaged)
    whole = Upscaler(load_rrdbnet(state), CPU, "fp32").upscale(astronaut_rows)
    tiled = Upscaler(load_rrdbnet(state), CPU, "fp32", tile_px=100).upscale(astronaut_rows)
    assert levels_apart(whole, tiled) <= 1


def test_averaging_is_the_mean_of_squares_of_pixels(
    make_upscaler: MakeUpscaler, noise: Noise
) -> None:
    calm = noise.astype(np.uint16) * 32 + 28_000
    squares = make_upscaler().upscale(calm).astype(np.float64).reshape(150, 2, 186, 2, 3)
    two = make_upscaler().upscale(calm, average=2)
    not_cut_off = (squares.min((1, 3)) > 0) & (squares.max((1, 3)) < 65_535)
    assert not_cut_off.mean() > 0.5
    assert np.abs(squares.mean((1, 3)) - two)[not_cut_off].max() <= 1


def test_sixteen_bits_are_kept(make_upscaler: MakeUpscaler, noise: Noise) -> None:
    deep = make_upscaler().upscale(noise.astype(np.uint16) * 257)
    assert deep.dtype == np.uint16
    assert levels_apart((deep / 257).round().astype(np.uint8), make_upscaler().upscale(noise)) <= 1
    assert len(np.unique(deep)) > 256


class Cramped(RRDBNet):
    """A network on a device with memory for ``room`` pixels."""

    room = 0

    def analyse(self, x: Tensor, on_step: OnStep = lambda _done: None) -> Tensor:
        features = super().analyse(x, on_step)
        if x.shape[2] * x.shape[3] > self.room:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 9 GiB")
        return features


def cramped(network: RRDBNet, room: int) -> Upscaler:
    twin = Cramped(network.config)
    twin.load_state_dict(network.state_dict())
    twin.room = room
    return Upscaler(twin, CPU, "fp32")


def test_tiles_are_halved_until_they_fit(
    make_tiny: Callable[..., RRDBNet], make_upscaler: MakeUpscaler
) -> None:
    photo = np.random.default_rng(0).integers(0, 256, (150, 260, 3), dtype=np.uint8)
    shares: list[float] = []
    upscaler = cramped(make_tiny(), room=110 * 110)
    answer = upscaler.upscale(photo, on_pixels=lambda done, total: shares.append(done / total))
    assert levels_apart(answer, make_upscaler().upscale(photo)) <= 1
    assert len(shares) >= 8
    assert shares == sorted(shares)
    assert shares[-1] == 1


def test_too_little_memory_for_the_smallest_tile_is_an_error(
    make_tiny: Callable[..., RRDBNet],
) -> None:
    photo = np.zeros((80, 80, 3), np.uint8)
    with pytest.raises(OutOfMemory, match="even a tile of 20 px does not fit"):
        cramped(make_tiny(), room=10).upscale(photo)


def test_another_error_is_not_treated_as_out_of_memory(make_upscaler: MakeUpscaler) -> None:
    with pytest.raises(RuntimeError, match="channels"):
        make_upscaler().upscale(np.zeros((20, 20, 4), np.uint8))


def test_progress_is_reported_within_a_tile_too(
    make_tiny: Callable[..., RRDBNet], noise: Noise
) -> None:
    reported: list[tuple[int, int]] = []
    upscaler = Upscaler(make_tiny(blocks=3), CPU, "fp32")
    upscaler.upscale(noise[:10, :40], on_pixels=lambda *pixels: reported.append(pixels))
    assert reported == [(100, 400), (200, 400), (300, 400), (400, 400)]


def test_the_progress_callback_can_stop_the_work(make_upscaler: MakeUpscaler, noise: Noise) -> None:
    reported = []

    def stop(done: int, total: int) -> None:
        reported.append((done, total))
        raise JobCanceled

    with pytest.raises(JobCanceled):
        make_upscaler(tile_px=16).upscale(noise, on_pixels=stop)
    assert len(reported) == 1
    assert 0 < reported[0][0] < reported[0][1] == noise.shape[0] * noise.shape[1]


def test_an_output_with_nan_is_an_error(make_tiny: Callable[..., RRDBNet], noise: Noise) -> None:
    network = make_tiny()
    network.conv_hr.bias.data.fill_(1e30)  # more than 16 bits hold
    assert Upscaler(network, CPU, "fp32").upscale(noise).max() == 255
    with pytest.raises(ModelUnavailable, match="no numbers in fp16; set FACEMEND_PRECISION=fp32"):
        Upscaler(network, CPU, "fp16").upscale(noise)


def test_bf16_comes_close_on_a_photo(packaged: Path, face: Noise) -> None:
    state = read_ncnn(packaged)
    exact = Upscaler(load_rrdbnet(state), CPU, "fp32").upscale(face[:32, :32]).astype(np.float64)
    fast = Upscaler(load_rrdbnet(state), CPU, "bf16").upscale(face[:32, :32])
    psnr = 10 * np.log10(255**2 / ((exact - fast) ** 2).mean())
    assert 45 < psnr < 80


def test_the_receptive_field_is_as_declared() -> None:
    """A pixel has no effect beyond the field, and has one just inside it."""
    network = RRDBNet(RRDBConfig(4, 4, 1, 1))
    for _, conv in network.convolutions():
        conv.weight.data.fill_(0.5)
    with torch.inference_mode():
        x = torch.zeros(1, 3, 3, 64)
        before = network(x)
        x[..., 0] = 1
        changed = (network(x) != before).any(1).any(1).any(0).nonzero().max()
    reach_px = int(changed) / 4
    assert reach_px <= network.config.reach_px < reach_px + 2.5
