"""The self-check: a seeded input, and the output of torch in float32 on a CPU for it.

A backend whose output differs is refused, whatever the reason: a broken export, arithmetic that
overflows, a faulty driver.
"""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from shared.errors import ModelUnavailable
from worker.engine.backends.backend import Backend, Images, crops_to_images
from worker.imaging.decode import Pixels

if TYPE_CHECKING:
    from worker.engine.gpen.networks import Generator

#: Largest relative L2 error by precision. The network amplifies the rounding of a half-precision
#: input ten to twenty times; in float32 the error is 1e-6 to 4e-6.
TOLERANCE: Mapping[str, float] = {"fp32": 1e-5, "bf16": 2e-2, "fp16": 5e-3}


@dataclass(frozen=True, slots=True, eq=False)
class SelfCheck:
    """``crop``: uint8 RGB (in_px, in_px, 3). ``expected``: float32 (1, 3, out_px, out_px)."""

    crop: Pixels
    expected: Images

    @property
    def in_px(self) -> int:
        """Side of the network's input."""
        return len(self.crop)

    def run(self, backend: Backend) -> float:
        """Return the backend's relative L2 error.

        Raises ModelUnavailable if the error is too large or the backend cannot run.
        """
        try:
            error = relative_error(backend.infer(crops_to_images([self.crop])), self.expected)
        except Exception as problem:  # a library's own errors; the backend is not trusted yet
            raise ModelUnavailable(f"{_label(backend)} cannot run: {problem!s:.300}") from problem
        allowed = TOLERANCE[backend.precision]
        if not error <= allowed:  # true for NaN too
            raise ModelUnavailable(
                f"{_label(backend)} fails its self-check: error {error:.2g}, {allowed:g} is allowed"
            )
        return error

    def save(self, file: Path) -> None:
        """Write both arrays to ``file`` in numpy's npz format."""
        with file.open("wb") as target:
            np.savez(target, crop=self.crop, expected=self.expected)


def load_self_check(file: Path) -> SelfCheck | None:
    """Read a saved self-check; return None if the file is missing or damaged."""
    try:
        with file.open("rb") as source, np.load(source) as arrays:
            return SelfCheck(arrays["crop"], arrays["expected"])
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return None


def make_self_check(generator: Generator) -> SelfCheck:
    """Run a generator that is on the CPU and in float32, and keep its output."""
    import torch  # noqa: PLC0415 - a saved self-check is read without torch

    crop = face_like(generator.config.in_size)
    with torch.inference_mode():
        expected: Images = generator(torch.from_numpy(crops_to_images([crop]))).numpy()
    return SelfCheck(crop, expected)


def relative_error(found: Any, expected: Images) -> float:
    """Return the L2 norm of the difference, divided by that of ``expected``."""
    return float(np.linalg.norm(found - expected) / np.linalg.norm(expected))


def face_like(size_px: int) -> Pixels:
    """Return smooth patches of all brightnesses with some grain, always the same ones."""
    source = np.random.default_rng(7)
    patches = source.integers(0, 256, (8, 8, 3)).astype(np.float32)
    smooth = cv2.resize(patches, (size_px, size_px), interpolation=cv2.INTER_CUBIC)
    grain = source.normal(0, 4, smooth.shape)
    face: Pixels = np.clip(smooth + grain, 0, 255).round().astype(np.uint8)
    return face


def _label(backend: Backend) -> str:
    return f"backend {backend.name} in {backend.precision}"
