"""Measure a generator on photos it has not seen: `python -m worker.training.evaluate --help`.

Every photo is spoiled by the fixed recipe with its own seed, so figures of different models
compare. "Before" is the spoiled photo enlarged bicubically: what a customer would have without us.
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import click
import cv2
import numpy as np
import torch

from shared.errors import DatasetError, WeightsInvalid
from worker.engine.gpen.networks import Generator
from worker.training.checkpoint import read_generator
from worker.training.dataset import Photos, load_photos, to_images, to_tensor
from worker.training.degradations import VALIDATION, Image, Recipe, degrade
from worker.training.metrics import psnr, ssim

SEED = 2105_06070


@dataclass(frozen=True)
class Figures:
    """Means over the photos."""

    psnr_db: float
    ssim: float


@dataclass(frozen=True)
class Report:
    """What a model does to photos it has not seen."""

    photos: int
    size: int
    before: Figures
    after: Figures

    @property
    def gain_db(self) -> float:
        return self.after.psnr_db - self.before.psnr_db

    def markdown(self) -> str:
        """A table for a model card."""
        rows = (("degraded, enlarged bicubically", self.before), ("restored", self.after))
        lines = [f"| {self.photos} photos at {self.size} px | PSNR dB | SSIM |", "|---|---|---|"]
        return "\n".join(
            lines + [f"| {name} | {row.psnr_db:.2f} | {row.ssim:.4f} |" for name, row in rows]
        )


def degrade_all(photos: Photos, recipe: Recipe = VALIDATION, seed: int = SEED) -> list[Image]:
    """The spoiled photos of a validation: always the same for the same photos."""
    return [
        degrade(image, np.random.default_rng((seed, number)), recipe)
        for number, image in enumerate(photos.images)
    ]


def restore_all(
    generator: Generator, images: Sequence[Image], *, batch: int = 8, bf16: bool = False
) -> list[Image]:
    """Restored copies, in order; the generator's mode and place are left as they are."""
    device = next(generator.parameters()).device
    restored: list[Image] = []
    with torch.inference_mode(), torch.autocast(device.type, torch.bfloat16, enabled=bf16):
        for start in range(0, len(images), batch):
            chunk = to_tensor(list(images[start : start + batch])).to(device)
            restored += to_images(generator(chunk))
    return restored


def evaluate(generator: Generator, photos: Photos, seed: int = SEED) -> tuple[Report, list[Image]]:
    """Figures before and after, and the contact sheet's images: degraded, restored, original."""
    degraded = degrade_all(photos, seed=seed)
    restored = restore_all(generator, degraded)
    report = Report(
        photos=len(photos),
        size=photos.size,
        before=measure(degraded, photos.images),
        after=measure(restored, photos.images),
    )
    rows = zip(degraded, restored, photos.images, strict=True)
    return report, [np.concatenate(row, axis=1) for row in rows]


@dataclass(frozen=True)
class Exam:
    """Photos spoiled once, for a training that is measured again and again."""

    photos: Photos
    degraded: tuple[Image, ...]
    before_db: float

    @classmethod
    def of(cls, photos: Photos) -> Exam:
        degraded = degrade_all(photos)
        return cls(photos, tuple(degraded), mean_psnr(degraded, photos.images))


def mean_psnr(images: Sequence[Image], references: Sequence[Image]) -> float:
    """Mean over the photos, in dB."""
    return statistics.fmean(psnr(*pair) for pair in zip(images, references, strict=True))


def measure(images: Sequence[Image], references: Sequence[Image]) -> Figures:
    """Mean PSNR and SSIM."""
    likeness = statistics.fmean(ssim(*pair) for pair in zip(images, references, strict=True))
    return Figures(psnr_db=round(mean_psnr(images, references), 3), ssim=round(likeness, 4))


def contact_sheet(rows: Sequence[Image], columns: int = 2) -> Image:
    """Rows of degraded | restored | original, `columns` of them side by side."""
    rows = list(rows) + [np.zeros_like(rows[0])] * (-len(rows) % columns)
    lines = [np.concatenate(rows[i : i + columns], axis=1) for i in range(0, len(rows), columns)]
    return np.concatenate(lines, axis=0)


def write_png(image: Image, path: Path) -> None:
    """Write an RGB image."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if not cv2.imwrite(str(path), np.ascontiguousarray(image[:, :, ::-1])):
        raise OSError(f"cannot write {path}")


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line; 0, or 2 with a message on what to do."""
    options = _parser().parse_args(arguments)
    try:
        generator = read_generator(options.weights)
        photos = load_photos(options.photos, generator.config.size)
    except (DatasetError, WeightsInvalid) as error:
        click.echo(f"evaluate: {error}", err=True)
        return 2
    click.echo(f"evaluate: {len(photos)} photos at {photos.size} px", err=True)
    report, rows = evaluate(generator, photos, options.seed)
    click.echo(json.dumps(asdict(report), indent=2) if options.json else report.markdown())
    if options.sheet:
        write_png(contact_sheet(rows[: options.rows]), options.sheet)
        click.echo(f"evaluate: degraded | restored | original in {options.sheet}", err=True)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m worker.training.evaluate",
        description=(
            "Degrade photos by the fixed recipe, restore them, and print PSNR and SSIM before and"
            " after."
        ),
        epilog=(
            "example: python -m worker.training.evaluate --photos val-256.zip"
            " --weights worker/weights/bundled/facemend-starter.safetensors --sheet sheet.png"
        ),
    )
    parser.add_argument("--weights", type=Path, required=True, help=".safetensors, .pth or .pt")
    parser.add_argument("--photos", type=Path, required=True, help="folder or ZIP of aligned faces")
    parser.add_argument("--seed", type=int, default=SEED, help="of the recipe (%(default)s)")
    parser.add_argument("--sheet", type=Path, help="write a contact sheet (PNG) here")
    parser.add_argument("--rows", type=int, default=24, help="photos on it (default %(default)s)")
    parser.add_argument("--json", action="store_true", help="print JSON instead of Markdown")
    return parser


if __name__ == "__main__":
    raise SystemExit(main())
