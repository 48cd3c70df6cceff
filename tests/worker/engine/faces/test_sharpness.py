from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.worker.engine.photos import gradient
from worker.engine.faces.sharpness import sharpness
from worker.training.data.degradations import HEAVY, LIGHT, VALIDATION, degrade
from worker.training.data.photos import load_photos

NOISE = np.random.default_rng(2)


@pytest.fixture(scope="module")
def portraits(faces_dir: Path) -> list[NDArray[np.uint8]]:
    return list(load_photos(faces_dir / "val-256.zip", 256).images)[::4]


def test_undamaged_faces_are_sharp(portraits: list[NDArray[np.uint8]]) -> None:
    assert np.mean([sharpness(face).is_enough for face in portraits]) > 0.9


@pytest.mark.parametrize("recipe", [VALIDATION, HEAVY], ids=["validation", "heavy"])
def test_degraded_faces_are_never_sharp(portraits: list[NDArray[np.uint8]], recipe: object) -> None:
    for seed, face in enumerate(portraits):
        spoiled = degrade(face, np.random.default_rng(seed), recipe)  # type: ignore[arg-type]
        assert not sharpness(spoiled).is_enough


def test_the_score_falls_with_the_damage(portraits: list[NDArray[np.uint8]]) -> None:
    shares = [
        np.median(
            [
                sharpness(degrade(face, np.random.default_rng(7), recipe)).fine_share
                for face in portraits
            ]
        )
        for recipe in (LIGHT, VALIDATION)
    ]
    undamaged = np.median([sharpness(face).fine_share for face in portraits])
    assert undamaged > shares[0] > shares[1]


@pytest.mark.parametrize("sigma", [8, 15])
def test_noise_does_not_count_as_detail(portraits: list[NDArray[np.uint8]], sigma: int) -> None:
    for face in portraits:
        noisy = (face + NOISE.normal(0, sigma, face.shape)).round().clip(0, 255).astype(np.uint8)
        seen = sharpness(noisy)
        assert seen.noise > 0.4 * sigma
        assert not seen.is_enough


def test_noise_is_measured_in_levels() -> None:
    plain = 128 + NOISE.normal(0, 6, (256, 256, 1))
    crop = np.repeat(plain, 3, axis=2).round().astype(np.uint8)
    assert sharpness(crop).noise == pytest.approx(6, rel=0.05)


@pytest.mark.parametrize("size_px", [1, 2, 5, 32, 256])
def test_a_plain_face_is_not_sharp(size_px: int) -> None:
    seen = sharpness(np.full((size_px, size_px, 3), 77, np.uint8))
    assert (seen.fine_share, seen.noise, seen.is_enough) == (0, 0, False)


def test_a_smooth_slope_is_not_sharp() -> None:
    assert not sharpness(gradient(256, 256)[:, :, [0, 0, 0]]).is_enough
