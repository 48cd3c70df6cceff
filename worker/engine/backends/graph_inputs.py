"""The inputs of an exported graph: images, controls, and noise in the super-resolving form."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from worker.engine.gpen.controls import GeneratorControls

#: Names of the images in an exported graph, and of the inputs (1,) for `GeneratorControls`.
INPUT, OUTPUT = "image", "restored"
NOISE_SCALE, TRUNCATION = "noise_scale", "truncation"

Array = NDArray[np.float32]


class GraphInputs:
    """Makes the values of a graph's inputs.

    ``given`` has the names and shapes of the inputs, in the order of the graph.
    """

    def __init__(self, given: Iterable[tuple[str, Sequence[int]]]) -> None:
        self._shapes = {name: tuple(shape) for name, shape in given}

    @property
    def uses_seed(self) -> bool:
        """Whether the graph has inputs for noise; only the super-resolving form has them."""
        return not self._shapes.keys() <= {INPUT, NOISE_SCALE, TRUNCATION}

    def of(self, images: Array, seed: int, controls: GeneratorControls) -> dict[str, Array]:
        """Return all inputs by name, in the order of the graph.

        The noise maps are those that the torch generator draws from the same seed.
        """
        source = np.random.default_rng(seed)
        known = {INPUT: images, **control_inputs(controls)}
        return {
            name: known[name] if name in known else source.standard_normal(shape, dtype=np.float32)
            for name, shape in self._shapes.items()
        }


def control_inputs(controls: GeneratorControls) -> dict[str, Array]:
    """Return the controls by the names of their inputs, each of shape (1,)."""
    values = {NOISE_SCALE: controls.noise_scale, TRUNCATION: controls.truncation}
    return {name: np.array([value], np.float32) for name, value in values.items()}
