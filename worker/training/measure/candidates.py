"""What a blind comparison compares: the input, restorers, and plain enlargement by Real-ESRGAN."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import cv2
import numpy as np

from shared.errors import DatasetError
from worker.engine import FaceOptions, Restorer
from worker.engine.background import PhotoEnlarger
from worker.imaging.decode import Photo
from worker.training.data.degradations import RECIPES, Image, degrade
from worker.training.measure.blind import Trial
from worker.training.measure.validation import SEED

#: Accepts a degraded picture, and whether it is one aligned face; returns one of the same size.
Candidate = Callable[[Image, bool], Image]

_ESRGAN_SCALE = 4


def unchanged(image: Image, _aligned: bool) -> Image:
    """Return the input: what a customer has without us."""
    return image


def restored_by(restorer: Restorer) -> Candidate:
    """Return a candidate that restores as ``facemend restore`` does."""

    def restore(image: Image, aligned: bool) -> Image:
        options = FaceOptions(aligned=aligned, crops=False)
        return restorer.restore(Photo.of_pixels(image), options).photo.pixels

    return restore


def enlarged_by(enlarger: PhotoEnlarger) -> Candidate:
    """Return a candidate that shrinks the picture four times and lets Real-ESRGAN enlarge it."""

    def enlarge(image: Image, _aligned: bool) -> Image:
        height, width = image.shape[:2]
        small = max(width // _ESRGAN_SCALE, 1), max(height // _ESRGAN_SCALE, 1)
        shrunk = np.asarray(cv2.resize(image, small, interpolation=cv2.INTER_AREA), np.uint8)
        photo = Photo.of_pixels(np.ascontiguousarray(shrunk))
        large = enlarger.enlarge(photo, _ESRGAN_SCALE, lambda _done, _total: None).pixels
        size = (width, height)
        return np.asarray(cv2.resize(large, size, interpolation=cv2.INTER_CUBIC), np.uint8)

    return enlarge


def make_trials(
    candidates: Mapping[str, Candidate],
    faces: Sequence[Image],
    whole: Sequence[Image] = (),
    *,
    counts: tuple[int, int, int] = (20, 10, 10),
    seed: int = SEED,
) -> list[Trial]:
    """Return trials of ``counts`` faces at x4, faces at x8, and whole photos at x4.

    The photos are spread evenly over those given, and no face is used twice. Raises DatasetError
    if there are too few.
    """
    at_x4, at_x8, of_whole = counts
    if len(faces) < at_x4 + at_x8 or len(whole) < of_whole:
        raise DatasetError(
            f"{at_x4 + at_x8} aligned faces and {of_whole} whole photos are needed; there are "
            f"{len(faces)} and {len(whole)}"
        )
    chosen = _spread(faces, at_x4 + at_x8)
    plan = [("x4", "x4", image) for image in chosen[:at_x4]]
    plan += [("x8", "x8", image) for image in chosen[at_x4:]]
    plan += [("whole", "x4", image) for image in _spread(whole, of_whole)]
    trials = []
    for number, (group, recipe, sharp) in enumerate(plan):
        spoiled = degrade(sharp, np.random.default_rng((seed, number)), RECIPES[recipe])
        versions = {name: make(spoiled, group != "whole") for name, make in candidates.items()}
        trials.append(Trial(group, versions))
    return trials


def _spread(images: Sequence[Image], count: int) -> list[Image]:
    return [images[index * len(images) // count] for index in range(count)]
