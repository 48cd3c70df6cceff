"""Real faces as the network sees them, and photos to restore."""

from __future__ import annotations

import importlib.util
import io
import os
import zipfile
from pathlib import Path

import cv2
import numpy as np
import torch
from PIL import Image

from worker.engine.load import load_detector
from worker.imaging.decode import Pixels
from worker.imaging.geometry import crop, similarity, template_points

_FREE = (
    ("skimage", "data/astronaut.png"),
    ("matplotlib", "mpl-data/sample_data/grace_hopper.jpg"),
)
_FROM_VALIDATION = 6


def data_folder() -> Path:
    """Photos that are not in the repository: FACEMEND_DATA, or ``shared`` beside the checkout."""
    return Path(os.environ.get("FACEMEND_DATA") or Path(__file__).parents[2] / "shared") / "faces"


def real_faces(size_px: int) -> list[Pixels]:
    """Aligned crops: the two free photos, and some of the validation faces where they are."""
    found = [_aligned(free_photo(index), size_px) for index in range(len(_FREE))]
    archive = data_folder() / "val-256.zip"
    if archive.is_file():
        with zipfile.ZipFile(archive) as photos:
            names = sorted(name for name in photos.namelist() if name.endswith((".jpg", ".png")))
            for name in names[:_FROM_VALIDATION]:
                face = _pixels(io.BytesIO(photos.read(name)))
                found.append(_resized(face, size_px))
    return found


def free_photo(index: int = 0) -> Pixels:
    """A public-domain photo with one face, out of a package."""
    package, path = _FREE[index]
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise SystemExit(f"the benchmark needs the package {package}: pip install facemend[demo]")
    return _pixels(Path(spec.submodule_search_locations[0]) / path)


def crowd() -> tuple[str, Pixels]:
    """The group photo of 29 faces; where it is missing, the astronaut, tiled."""
    file = data_folder() / "solvay-1927.png"
    if file.is_file():
        return file.name, _pixels(file)
    name = f"{file} is missing: the astronaut, 4 by 4"
    return name, np.tile(_resized(free_photo()[:300, 70:370], 200), (4, 4, 1))


def _aligned(photo: Pixels, size_px: int) -> Pixels:
    detector = load_detector(Path("nowhere"), torch.device("cpu"))
    face = max(detector.detect(photo, 0.9), key=lambda each: each.short_side_px)
    return crop(photo, similarity(face.landmarks, template_points("gpen", size_px)), size_px)


def _resized(face: Pixels, size_px: int) -> Pixels:
    return np.asarray(cv2.resize(face, (size_px, size_px), interpolation=cv2.INTER_CUBIC), np.uint8)


def _pixels(source: Path | io.BytesIO) -> Pixels:
    with Image.open(source) as image:
        return np.asarray(image.convert("RGB"))
