"""Degradations are seeded, keep size and brightness, and get worse as the recipe does."""

from __future__ import annotations

import numpy as np
import pytest

from worker.training.data.degradations import (
    TRAINING,
    VALIDATION,
    Image,
    Recipe,
    compress,
    degrade,
    gaussian_kernel,
    motion_kernel,
)
from worker.training.measure.metrics import psnr

NOTHING = Recipe(blur_px=(0.05, 0.05), shrink=(1.0, 1.0), noise=(0.0, 0.0), jpeg=(100, 100))


@pytest.fixture
def sharp() -> Image:
    y, x = np.mgrid[:64, :64]
    waves = 128 + 60 * np.sin(x / 5) + 40 * np.cos(y / 7 + x / 11)
    return np.stack([waves, waves[::-1], waves.T], axis=2).clip(0, 255).astype(np.uint8)


def spoil(sharp: Image, recipe: Recipe, seed: int = 1) -> Image:
    return degrade(sharp, np.random.default_rng(seed), recipe)


@pytest.mark.parametrize("recipe", [TRAINING, VALIDATION])
def test_the_same_seed_gives_the_same_bytes(sharp: Image, recipe: Recipe) -> None:
    assert np.array_equal(spoil(sharp, recipe, 7), spoil(sharp, recipe, 7))
    assert not np.array_equal(spoil(sharp, recipe, 7), spoil(sharp, recipe, 8))


@pytest.mark.parametrize("shape", [(64, 64, 3), (40, 64, 3)])
def test_size_type_and_brightness_stay(sharp: Image, shape: tuple[int, int, int]) -> None:
    image = np.ascontiguousarray(sharp[: shape[0], : shape[1]])
    before = image.copy()
    for seed in range(10):
        spoiled = spoil(image, TRAINING, seed)
        assert (spoiled.shape, spoiled.dtype) == (shape, np.uint8)
        assert abs(float(spoiled.mean()) - float(image.mean())) < 6
    assert np.array_equal(image, before)


def test_a_recipe_of_nothing_hardly_changes_the_photo(sharp: Image) -> None:
    assert psnr(spoil(sharp, NOTHING), sharp) > 36


@pytest.mark.parametrize(
    "worse",
    [
        Recipe((3.0, 3.0), (1.0, 1.0), (0.0, 0.0), (100, 100)),
        Recipe((9.0, 9.0), (1.0, 1.0), (0.0, 0.0), (100, 100), motion_share=1.0),
        Recipe((0.05, 0.05), (6.0, 6.0), (0.0, 0.0), (100, 100)),
        Recipe((0.05, 0.05), (1.0, 1.0), (12.0, 12.0), (100, 100)),
        Recipe((0.05, 0.05), (1.0, 1.0), (0.0, 0.0), (5, 5)),
    ],
    ids=["blur", "motion", "shrink", "noise", "jpeg"],
)
def test_each_part_of_a_recipe_spoils(sharp: Image, worse: Recipe) -> None:
    assert psnr(spoil(sharp, worse), sharp) < psnr(spoil(sharp, NOTHING), sharp) - 3


def test_kernels_sum_to_one_and_point_along_their_angle() -> None:
    for kernel in (gaussian_kernel(3.0, 1.0, 0.4), motion_kernel(12.0, 1.2)):
        assert kernel.sum() == pytest.approx(1.0, abs=1e-5)
    level = motion_kernel(12.0, 0.0)
    centre = len(level) // 2
    assert level[centre].sum() > 5 * level[:, centre].sum()


def test_colours_survive_a_jpeg() -> None:
    red = np.zeros((16, 16, 3), np.uint8)
    red[:, :, 0] = 200
    assert compress(red, 95)[:, :, 0].mean() > 190
    assert compress(red, 95)[:, :, 2].mean() < 10
