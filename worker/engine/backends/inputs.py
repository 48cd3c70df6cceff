"""What an exported graph takes beside its images: the controls, and noise if it draws any."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from worker.engine.backends import INPUT, NOISE_SCALE, TRUNCATION
from worker.engine.controls import Controls


class Inputs:
    """``shapes`` are those of the graph's own inputs, by name and in its order."""

    def __init__(self, shapes: Mapping[str, Sequence[int]]) -> None:
        self._shapes = {name: tuple(shape) for name, shape in shapes.items()}

    @property
    def takes_seed(self) -> bool:
        """Only the super-resolving form draws noise."""
        return not self._shapes.keys() <= {INPUT, NOISE_SCALE, TRUNCATION}

    def of(
        self, images: NDArray[np.float32], seed: int, controls: Controls
    ) -> dict[str, NDArray[np.float32]]:
        """All by name, in order; noise as the torch form draws it from this seed, map by map."""
        source = np.random.default_rng(seed)
        known = {
            INPUT: images,
            NOISE_SCALE: np.array([controls.noise_scale], np.float32),
            TRUNCATION: np.array([controls.truncation], np.float32),
        }
        return {
            name: known[name] if name in known else source.standard_normal(shape, dtype=np.float32)
            for name, shape in self._shapes.items()
        }
