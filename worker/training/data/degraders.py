"""The ways to degrade a photo, by the names that options use."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.random import Generator

from worker.training.data.degradations import LIGHT, TRAINING, Image, degrade
from worker.training.data.old_photo import age
from worker.training.data.second_order import degrade_twice

#: Pure and seeded: the same image and generator state give the same bytes.
Degrader = Callable[[Image, Generator], Image]

_LIGHT_SHARE = 0.2  # of a mix: a model that never sees a good photo spoils it


def degrader_named(name: str) -> Degrader:
    """Return ``classic``, ``second-order``, ``old-photo`` or ``mixed``; raises KeyError."""
    return {
        "classic": _classic,
        "second-order": degrade_twice,
        "old-photo": age,
        "mixed": _mixed,
    }[name]


def degradation_sheet(
    images: Sequence[Image], degrader: Degrader, *, columns: int, seed: int
) -> Image:
    """Return a picture with a row for each image: itself, and ``columns`` degraded copies."""
    rows = []
    for number, image in enumerate(images):
        rng = np.random.default_rng((seed, number))
        rows.append(np.concatenate([image, *(degrader(image, rng) for _ in range(columns))], 1))
    return np.concatenate(rows, axis=0)


def _classic(image: Image, rng: Generator) -> Image:
    return degrade(image, rng, TRAINING)


def _mixed(image: Image, rng: Generator) -> Image:
    drawn = rng.random()
    if drawn < _LIGHT_SHARE:
        return degrade(image, rng, LIGHT)
    chosen: Degrader = _classic if drawn < 0.55 else degrade_twice if drawn < 0.85 else age
    return chosen(image, rng)
