"""A blind comparison is made of the photos given, spread evenly, each degraded once for all."""

from __future__ import annotations

import numpy as np
import pytest

from shared.errors import DatasetError
from worker.imaging.decode import Photo
from worker.training.data.degradations import Image
from worker.training.measure.candidates import enlarged_by, make_trials, unchanged


def face(level: int) -> Image:
    return np.full((32, 32, 3), level, np.uint8)


class Quadrupled:
    """Stands in for the enlarger: each pixel becomes four by four."""

    def enlarge(self, photo: Photo, scale: int, on_pixels: object) -> Photo:
        return Photo.of_pixels(photo.pixels.repeat(scale, 0).repeat(scale, 1))


def test_every_candidate_sees_the_same_degraded_photo() -> None:
    seen: list[bytes] = []

    def spy(image: Image, aligned: bool) -> Image:
        seen.append(image.tobytes())
        return image

    faces = [face(level) for level in range(40, 160, 10)]
    trials = make_trials({"input": unchanged, "spy": spy}, faces, counts=(4, 2, 0), seed=1)
    assert [trial.group for trial in trials] == ["x4"] * 4 + ["x8"] * 2
    assert [trial.versions["input"].tobytes() for trial in trials] == seen
    assert len(set(seen)) == 6


def test_whole_photos_are_not_taken_for_aligned_faces() -> None:
    told: list[bool] = []

    def spy(image: Image, aligned: bool) -> Image:
        told.append(aligned)
        return image

    make_trials({"spy": spy}, [face(1), face(2)], [face(3)], counts=(1, 1, 1), seed=1)
    assert told == [True, True, False]


def test_too_few_photos_are_refused() -> None:
    with pytest.raises(DatasetError, match="3 aligned faces and 0 whole photos are needed"):
        make_trials({"input": unchanged}, [face(1)], counts=(2, 1, 0), seed=1)


def test_enlarging_shrinks_first_and_keeps_the_size() -> None:
    enlarge = enlarged_by(Quadrupled())  # type: ignore[arg-type]
    image = np.random.default_rng(1).integers(0, 256, (30, 42, 3), dtype=np.uint8)
    made = enlarge(image, False)
    assert made.shape == image.shape
    assert made.std() < image.std()
