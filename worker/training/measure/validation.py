"""Photos that a generator has not seen, degraded by a fixed recipe with a fixed seed.

Each photo has its own seed, so figures of different models can be compared. "Before" is the
degraded photo enlarged bicubically: what a customer would have without us.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch

from worker.engine.gpen.networks import Generator
from worker.training.data.degradations import VALIDATION, Image, Recipe, degrade
from worker.training.data.photos import Photos, to_images, to_tensor
from worker.training.measure.metrics import psnr, ssim

SEED = 2105_06070


@dataclass(frozen=True)
class Figures:
    """Means over the photos."""

    psnr_db: float
    ssim: float


@dataclass(frozen=True)
class ValidationSet:
    """Photos degraded once, for a training that is measured again and again."""

    photos: Photos
    degraded: tuple[Image, ...]
    before: Figures

    @classmethod
    def of(cls, photos: Photos, recipe: Recipe = VALIDATION, seed: int = SEED) -> ValidationSet:
        degraded = degrade_all(photos, recipe, seed)
        return cls(photos, tuple(degraded), measure(degraded, photos.images))

    def restore(self, generator: Generator, *, bf16: bool = False) -> list[Image]:
        """Return what the generator makes of the degraded photos; see ``restore_all``."""
        return restore_all(generator, self.degraded, bf16=bf16)

    def rows(self, restored: Sequence[Image]) -> list[Image]:
        """Return degraded | restored | original for each photo."""
        lines = zip(self.degraded, restored, self.photos.images, strict=True)
        return [np.concatenate(line, axis=1) for line in lines]


def degrade_all(photos: Photos, recipe: Recipe = VALIDATION, seed: int = SEED) -> list[Image]:
    """Return the degraded photos of a validation: always the same for the same photos."""
    return [
        degrade(image, np.random.default_rng((seed, number)), recipe)
        for number, image in enumerate(photos.images)
    ]


def restore_all(
    generator: Generator, images: Sequence[Image], *, batch: int = 8, bf16: bool = False
) -> list[Image]:
    """Return restored copies, in order; the generator's mode and device stay as they are."""
    device = next(generator.parameters()).device
    restored: list[Image] = []
    with torch.inference_mode(), torch.autocast(device.type, torch.bfloat16, enabled=bf16):
        for start in range(0, len(images), batch):
            chunk = to_tensor(list(images[start : start + batch])).to(device)
            restored += to_images(generator(chunk))
    return restored


def mean_psnr(images: Sequence[Image], references: Sequence[Image]) -> float:
    """Return the mean over the photos, in dB."""
    return statistics.fmean(psnr(*pair) for pair in zip(images, references, strict=True))


def measure(images: Sequence[Image], references: Sequence[Image]) -> Figures:
    """Return mean PSNR and SSIM."""
    likeness = statistics.fmean(ssim(*pair) for pair in zip(images, references, strict=True))
    return Figures(psnr_db=round(mean_psnr(images, references), 3), ssim=round(likeness, 4))


def contact_sheet(rows: Sequence[Image], columns: int = 2) -> Image:
    """Return the rows, ``columns`` of them side by side; what is missing is black."""
    rows = list(rows) + [np.zeros_like(rows[0])] * (-len(rows) % columns)
    lines = [np.concatenate(rows[i : i + columns], axis=1) for i in range(0, len(rows), columns)]
    return np.concatenate(lines, axis=0)


def write_png(image: Image, path: Path) -> None:
    """Write an RGB image."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if not cv2.imwrite(str(path), np.ascontiguousarray(image[:, :, ::-1])):
        raise OSError(f"cannot write {path}")
