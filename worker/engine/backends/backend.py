"""The interface of a backend, which runs a generator, and the conversion of its pixels.

This module imports no runtime; each backend's module imports its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from worker.engine.batching.batcher import RestoredCrop
from worker.engine.gpen.controls import DEFAULT_CONTROLS, GeneratorControls
from worker.imaging.decode import Pixels

#: float32 RGB in [-1, 1], (N, 3, S, S); a network's output may exceed the range.
Images = NDArray[np.float32]

#: Each backend's name, and the command that installs what it needs.
INSTALL = {
    "torch": "pip install facemend[worker]",
    "onnxruntime": "pip install facemend[onnx]",
    "openvino": "pip install facemend[openvino]",
    "tensorrt": "pip install onnx onnxruntime-gpu, and NVIDIA's TensorRT",
}


class Backend(Protocol):
    """A generator that is ready to run. It has no locks: only one thread may use it at a time."""

    @property
    def name(self) -> str:
        """A key of `INSTALL`."""
        ...

    @property
    def precision(self) -> str:
        """``fp32``, ``bf16`` or ``fp16``."""
        ...

    @property
    def in_px(self) -> int:
        """Side of the network's input."""
        ...

    @property
    def out_px(self) -> int:
        """Side of the network's output."""
        ...

    @property
    def uses_seed(self) -> bool:
        """Whether the output depends on the seed: in the super-resolving form only."""
        ...

    @property
    def has_controls(self) -> bool:
        """Whether it takes `GeneratorControls` other than the defaults."""
        ...

    @property
    def batches(self) -> bool:
        """Whether it can restore several faces at once."""
        ...

    def infer(
        self, images: Images, seed: int = 0, controls: GeneratorControls = DEFAULT_CONTROLS
    ) -> Images:
        """Return the network's output (N, 3, out_px, out_px), float32, not rounded or clamped."""
        ...

    def run(
        self,
        crops: Sequence[Pixels],
        seed: int = 0,
        controls: GeneratorControls = DEFAULT_CONTROLS,
    ) -> list[RestoredCrop]:
        """Restore crops, uint8 RGB (in_px, in_px, 3), to (out_px, out_px, 3).

        The result is None for a crop whose output is not finite.
        """
        ...


def crops_to_images(crops: Sequence[Pixels]) -> Images:
    """Convert uint8 crops (S, S, 3) to the network's input."""
    images = np.stack(crops).transpose(0, 3, 1, 2).astype(np.float32, order="C")
    images /= 127.5
    images -= 1.0
    return images


def images_to_crops(images: Images) -> list[RestoredCrop]:
    """Convert the network's output to uint8 crops (S, S, 3); None for one that is not finite."""
    return [_to_pixels(image) if np.isfinite(image).all() else None for image in images]


def _to_pixels(image: Images) -> Pixels:
    scaled = image * np.float32(127.5)
    scaled += 127.5
    rounded = scaled.round(out=scaled).clip(0, 255, out=scaled).astype(np.uint8)
    return np.ascontiguousarray(rounded.transpose(1, 2, 0))
