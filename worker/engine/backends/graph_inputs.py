"""What an exported graph takes beside its images: noise if it draws any, and controls."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from worker.engine.backends import INPUT, NOISE_SCALE, TRUNCATION
from worker.engine.controls import Controls

Array = NDArray[np.float32]


class Inputs:
    """``given`` are names and shapes of the graph's own inputs, in its order."""

    def __init__(self, given: Iterable[tuple[str, Sequence[int]]]) -> None:
        self._shapes = {name: tuple(shape) for name, shape in given}

    @property
    def takes_seed(self) -> bool:
        """Only the super-resolving form draws noise."""
        return not self._shapes.keys() <= {INPUT, NOISE_SCALE, TRUNCATION}

    def of(self, images: Array, seed: int, controls: Controls) -> dict[str, Array]:
        """All by name, in order; noise as the torch form draws it from this seed, map by map."""
        source = np.random.default_rng(seed)
        known = {INPUT: images, **turned(controls)}
        return {
            name: known[name] if name in known else source.standard_normal(shape, dtype=np.float32)
            for name, shape in self._shapes.items()
        }


def turned(controls: Controls) -> dict[str, Array]:
    """Controls by name, shape (1,)."""
    values = {NOISE_SCALE: controls.noise_scale, TRUNCATION: controls.truncation}
    return {name: np.array([value], np.float32) for name, value in values.items()}
