"""The self-check: an input with the answer that torch in float32 on a CPU once gave to it.

A backend that answers otherwise is not let in, whatever the reason: a broken export, arithmetic
that overflows, a driver with a fault.
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
from worker.engine.backends import Backend, Images, to_images
from worker.imaging.decode import Pixels

if TYPE_CHECKING:
    from worker.engine.gpen.networks import Generator

#: Largest relative L2 error let through. The network makes ten to twenty times its arithmetic's
#: rounding of a half-precision input; float32 leaves 1e-6 to 4e-6.
TOLERANCE: Mapping[str, float] = {"fp32": 1e-5, "bf16": 2e-2, "fp16": 5e-3}


@dataclass(frozen=True, slots=True, eq=False)
class Proof:
    crop: Pixels
    expected: Images

    @property
    def in_px(self) -> int:
        return len(self.crop)

    def check(self, backend: Backend) -> float:
        """The backend's relative L2 error; raises ModelUnavailable when it is too large."""
        try:
            error = relative_error(backend.infer(to_images([self.crop])), self.expected)
        except Exception as problem:  # any library's own; what runs here is not to be trusted yet
            raise ModelUnavailable(f"{_label(backend)} cannot run: {problem!s:.300}") from problem
        allowed = TOLERANCE[backend.precision]
        if not error <= allowed:  # NaN is not
            raise ModelUnavailable(
                f"{_label(backend)} fails its self-check: error {error:.2g}, {allowed:g} is allowed"
            )
        return error

    def save(self, file: Path) -> None:
        with file.open("wb") as target:
            np.savez(target, crop=self.crop, expected=self.expected)


def load_proof(file: Path) -> Proof | None:
    """None when there is none, or a damaged one: it is made anew then."""
    try:
        with file.open("rb") as source, np.load(source) as arrays:
            return Proof(arrays["crop"], arrays["expected"])
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return None


def make_proof(generator: Generator) -> Proof:
    """Ask torch, in float32, on the CPU."""
    import torch  # noqa: PLC0415 - a proof that is there is read without it

    crop = _face_like(generator.config.in_size)
    with torch.inference_mode():
        expected: Images = generator(torch.from_numpy(to_images([crop]))).numpy()
    return Proof(crop, expected)


def relative_error(found: Any, expected: Images) -> float:
    """L2 norm of the difference over that of what was expected."""
    return float(np.linalg.norm(found - expected) / np.linalg.norm(expected))


def _face_like(size_px: int) -> Pixels:
    """Smooth patches with some grain: seeded, and of all brightnesses."""
    source = np.random.default_rng(7)
    patches = source.integers(0, 256, (8, 8, 3)).astype(np.float32)
    smooth = cv2.resize(patches, (size_px, size_px), interpolation=cv2.INTER_CUBIC)
    grain = source.normal(0, 4, smooth.shape)
    face: Pixels = np.clip(smooth + grain, 0, 255).round().astype(np.uint8)
    return face


def _label(backend: Backend) -> str:
    return f"backend {backend.name} in {backend.precision}"
