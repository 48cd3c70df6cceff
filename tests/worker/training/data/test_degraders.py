"""Every way to degrade is seeded, keeps the size, and does what its name says."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from worker.training.data.degradations import Image
from worker.training.data.degraders import degradation_sheet, degrader_named
from worker.training.data.old_photo import add_grain, fade, halftone, scratch, to_monochrome
from worker.training.data.second_order import compress_webp, sensor_noise
from worker.training.measure.metrics import psnr

NAMES = ["classic", "second-order", "old-photo", "mixed"]


@pytest.fixture
def sharp() -> Image:
    y, x = np.mgrid[:64, :64]
    waves = 128 + 60 * np.sin(x / 5) + 40 * np.cos(y / 7 + x / 11)
    return np.stack([waves, waves[::-1], waves.T], axis=2).clip(0, 255).astype(np.uint8)


@pytest.mark.parametrize("name", NAMES)
def test_the_same_seed_gives_the_same_bytes(sharp: Image, name: str) -> None:
    before, degrader = sharp.copy(), degrader_named(name)
    for seed in range(12):
        one, same = (degrader(sharp, np.random.default_rng(seed)) for _ in range(2))
        assert np.array_equal(one, same)
        assert (one.shape, one.dtype) == (sharp.shape, np.uint8)
    assert np.array_equal(sharp, before)
    assert not np.array_equal(one, degrader(sharp, np.random.default_rng(99)))


@pytest.mark.parametrize("name", NAMES)
def test_it_degrades_and_leaves_something(sharp: Image, name: str) -> None:
    degrader = degrader_named(name)
    left = [psnr(degrader(sharp, np.random.default_rng(seed)), sharp) for seed in range(12)]
    assert min(left) > 5
    assert max(left) < 50


def test_a_mix_holds_light_damage_too(sharp: Image) -> None:
    mixed = degrader_named("mixed")
    left = [psnr(mixed(sharp, np.random.default_rng(seed)), sharp) for seed in range(40)]
    assert sum(each > 28 for each in left) >= 4


def test_sensor_noise_grows_with_the_light() -> None:
    rng = np.random.default_rng(1)
    dark, light = (np.full((64, 64, 3), level, np.uint8) for level in (40, 160))
    spread = [float(sensor_noise(each, rng, 0.5, 1.0).std()) for each in (dark, light)]
    assert spread[0] == pytest.approx(np.sqrt(40 * 0.5 + 1), rel=0.1)
    assert spread[1] == pytest.approx(np.sqrt(160 * 0.5 + 1), rel=0.1)


def test_webp_is_worse_at_lower_quality(sharp: Image) -> None:
    assert psnr(compress_webp(sharp, 90), sharp) > psnr(compress_webp(sharp, 10), sharp)


def test_an_old_print_is_monochrome_faded_grainy_and_scratched(sharp: Image) -> None:
    rng, image = np.random.default_rng(3), sharp.astype(np.float32)
    grey = to_monochrome(image, np.random.default_rng(5))
    ratio = grey[:, :, 0] / np.maximum(grey[:, :, 2], 1)
    assert ratio.std() < 0.05, "one tone all over"
    assert np.ptp(fade(image, rng)) < np.ptp(image) + 40
    grain = add_grain(image, rng) - image
    assert np.abs(grain[:, :, 0] - grain[:, :, 1]).max() < 1e-3
    assert grain.std() > 1
    changed = np.abs(scratch(image, rng) - image).max(2) > 1
    assert 0 < changed.mean() < 0.5
    flat = np.full((64, 64, 3), 128, np.float32)
    spectrum = np.abs(np.fft.fft2(halftone(flat, rng)[:, :, 0] - 128))
    assert spectrum.max() > 20 * np.median(spectrum), "dots repeat"


def test_a_sheet_has_a_row_for_each_photo(sharp: Image) -> None:
    sheet = degradation_sheet([sharp, sharp], degrader_named("classic"), columns=3, seed=1)
    assert sheet.shape == (128, 4 * 64, 3)
    assert np.array_equal(sheet[:64, :64], sharp)
    assert np.array_equal(cv2.resize(sheet[64:, :64], (64, 64)), sharp)
