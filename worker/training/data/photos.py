"""Aligned face photos, held in memory, and the small variations that make more of them."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.random import Generator
from torch import Tensor

from shared.errors import DatasetError
from worker.training.data.degradations import Image

SUFFIXES = {".jpg", ".jpeg", ".png", ".webp"}


@dataclass(frozen=True)
class Photos:
    """Sharp, aligned, square photos of one size, in the order of their names."""

    names: tuple[str, ...]
    images: tuple[Image, ...]

    @property
    def size(self) -> int:
        return len(self.images[0])

    def __len__(self) -> int:
        return len(self.images)


def load_photos(path: Path, size: int | None = None, *, least_share: float = 0.25) -> Photos:
    """Read a folder or a ZIP of aligned photos and bring each to size x size, or to the first's.

    Raises DatasetError for a folder without photos, and for a photo that cannot be read, is not
    square, or is smaller than ``least_share`` of the size: nothing can be learned from it.
    """
    found = {}
    for name, image in _images_in(path):
        size = size or len(image)
        if len(image) < least_share * size:
            raise DatasetError(f"{name} is {len(image)} px: too small to be a sharp {size} px face")
        found[name] = _square(name, image, size)
    names = tuple(sorted(found))
    return Photos(names, tuple(found[name] for name in names))


def load_images(path: Path) -> dict[str, Image]:
    """Read a folder or a ZIP of photos as they are, by name, in the order of their names."""
    found = dict(_images_in(path))
    return {name: found[name] for name in sorted(found)}


def to_tensor(images: list[Image]) -> Tensor:
    """uint8 RGB H x W x 3 each -> float32 (N, 3, H, W) in [-1, 1]."""
    stacked = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2)
    return stacked.float().div_(127.5).sub_(1.0).contiguous()


def to_images(batch: Tensor) -> list[Image]:
    """The way back, clamped and rounded."""
    scaled = batch.detach().float().cpu().add(1.0).mul(127.5).round().clamp(0, 255)
    return list(scaled.to(torch.uint8).permute(0, 2, 3, 1).contiguous().numpy())


def varied(image: Image, rng: Generator) -> Image:
    """Mirror, shift, turn and scale a little, and change the light: 659 photos are few."""
    size = len(image)
    if rng.random() < 0.5:
        image = image[:, ::-1]
    angle, scale = rng.uniform(-4.0, 4.0), rng.uniform(0.95, 1.08)
    turn = cv2.getRotationMatrix2D(((size - 1) / 2, (size - 1) / 2), angle, scale)
    matrix = np.array(turn, dtype=np.float64)
    matrix[:, 2] += rng.uniform(-0.02, 0.02, 2) * size
    source = np.ascontiguousarray(image)
    moved = cv2.warpAffine(
        source, matrix, (size, size), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT_101
    )
    return _relight(np.asarray(moved, dtype=np.uint8), rng)


def varied_pair(low: Image, sharp: Image, rng: Generator) -> tuple[Image, Image]:
    """Mirror both or neither: anything else would add damage of its own."""
    if rng.random() < 0.5:
        low, sharp = low[:, ::-1], sharp[:, ::-1]
    return np.ascontiguousarray(low), np.ascontiguousarray(sharp)


def _relight(image: Image, rng: Generator) -> Image:
    gamma, gains = rng.uniform(0.8, 1.25), rng.uniform(0.92, 1.08, 3)
    if rng.random() < 0.06:
        grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
        image = np.repeat(np.asarray(grey, dtype=np.uint8)[:, :, None], 3, axis=2)
        gains = gains[:1].repeat(3)
    levels = np.linspace(0.0, 1.0, 256)[:, None] ** gamma * gains
    table = np.clip(np.rint(levels * 255.0), 0, 255).astype(np.uint8)
    return np.stack([table[image[:, :, c], c] for c in range(3)], axis=2)


def _images_in(path: Path) -> Iterator[tuple[str, Image]]:
    """Each photo by its name; raises DatasetError where there is none."""
    if not path.exists():
        raise DatasetError(f"no photos at {path}: give a folder or a ZIP of face photos")
    number = 0
    for name, data in _read_zip(path) if path.is_file() else _read_folder(path):
        number += 1
        yield name, _decode(name, data)
    if not number:
        raise DatasetError(f"{path} holds no image (looked for {', '.join(sorted(SUFFIXES))})")


def _decode(name: str, data: bytes) -> Image:
    image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    if image is None:
        raise DatasetError(f"{name} cannot be read as an image: replace or remove it")
    return np.ascontiguousarray(image[:, :, ::-1], dtype=np.uint8)


def _square(name: str, image: Image, size: int) -> Image:
    height, width = image.shape[:2]
    if height != width:
        raise DatasetError(f"{name} is {width} x {height}: photos must be aligned, square crops")
    if height != size:
        how = cv2.INTER_AREA if height > size else cv2.INTER_CUBIC
        image = np.asarray(cv2.resize(image, (size, size), interpolation=how), np.uint8)
    return image


def _read_zip(path: Path) -> Iterator[tuple[str, bytes]]:
    if not zipfile.is_zipfile(path):
        raise DatasetError(f"{path} is neither a folder nor a ZIP archive")
    with zipfile.ZipFile(path) as archive:
        for name in archive.namelist():
            if Path(name).suffix.lower() in SUFFIXES:
                yield name, archive.read(name)


def _read_folder(path: Path) -> Iterator[tuple[str, bytes]]:
    for file in path.rglob("*"):
        if file.suffix.lower() in SUFFIXES:
            yield file.relative_to(path).as_posix(), file.read_bytes()
