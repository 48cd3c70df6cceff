"""What can run a generator: one small interface, and a file for each that has it.

Nothing heavy is imported here: a backend's library is needed by its own file only.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from worker.engine.batching.batcher import Answer
from worker.engine.controls import DEFAULT, Controls
from worker.imaging.decode import Pixels

# ONNX Runtime and OpenVINO tell their makers that they are used, unasked, under an identity that
# they keep in the home directory. These are people's private photos: nobody is told.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # see "Disabling Telemetry" in its Privacy.md
sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]  # not there: it goes on without

#: RGB in [-1, 1], (N, 3, S, S), not clamped.
Images = NDArray[np.float32]

#: What an exported graph calls its images, and the inputs for `Controls`, of shape (1,).
INPUT, OUTPUT = "image", "restored"
NOISE_SCALE, TRUNCATION = "noise_scale", "truncation"

#: Each backend's name, and how to get what it needs.
INSTALL = {
    "torch": "pip install facemend[worker]",
    "onnxruntime": "pip install facemend[onnx]",
    "openvino": "pip install facemend[openvino]",
    "tensorrt": "pip install onnx onnxruntime-gpu, and NVIDIA's TensorRT",
}


class Backend(Protocol):
    """A generator, ready to run. Owned by one thread at a time: nothing in it is locked."""

    @property
    def name(self) -> str: ...

    @property
    def precision(self) -> str: ...

    @property
    def in_px(self) -> int: ...

    @property
    def out_px(self) -> int: ...

    @property
    def takes_seed(self) -> bool:
        """Only the super-resolving form draws noise."""
        ...

    def infer(self, images: Images, seed: int = 0, controls: Controls = DEFAULT) -> Images:
        """What the network makes of ``images``, in float32: nothing is rounded or clamped."""
        ...

    def run(
        self, crops: Sequence[Pixels], seed: int = 0, controls: Controls = DEFAULT
    ) -> list[Answer]:
        """Restore uint8 (in_px, in_px, 3) crops to (out_px, out_px, 3); see batching.Answer."""
        ...


def to_images(crops: Sequence[Pixels]) -> Images:
    """Crops as the network sees them."""
    images = np.stack(crops).transpose(0, 3, 1, 2).astype(np.float32, order="C")
    images /= 127.5
    images -= 1.0
    return images


def to_answers(images: Images) -> list[Answer]:
    """The network's images as pixels; None for one that is not finite."""
    return [_to_pixels(image) if np.isfinite(image).all() else None for image in images]


def _to_pixels(image: Images) -> Pixels:
    scaled = image * np.float32(127.5)
    scaled += 127.5
    rounded = scaled.round(out=scaled).clip(0, 255, out=scaled).astype(np.uint8)
    return np.ascontiguousarray(rounded.transpose(1, 2, 0))
