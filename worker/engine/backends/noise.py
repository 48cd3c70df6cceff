"""The Gaussian maps that an exported super-resolving form takes as inputs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray


def noise_maps(shapes: Mapping[str, Sequence[int]], seed: int) -> dict[str, NDArray[np.float32]]:
    """Maps of these shapes, in the order in which the torch form draws them from a seed."""
    source = np.random.default_rng(seed)
    return {
        name: source.standard_normal(tuple(shape), dtype=np.float32)
        for name, shape in shapes.items()
    }
