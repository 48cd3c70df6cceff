"""From raw photos to aligned, square crops, with a manifest that says what became of each."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from shared.errors import DatasetError, InputError
from worker.engine.faces.detector import DetectedFace
from worker.imaging.decode import decode
from worker.imaging.geometry import crop, scale_of, similarity, template_points, transform
from worker.imaging.limits import Limits
from worker.training.data.degradations import Image
from worker.training.data.photos import SUFFIXES

_LEAST_SCORE = 0.5
# A profile: the nose is this much nearer to one eye than to the other, along the line of the eyes.
_MOST_TURNED = 0.75


class Detector(Protocol):
    """Finds faces; ``worker.engine.faces.detector.FaceDetector`` is one."""

    def detect(
        self, image: NDArray[np.uint8], threshold: float, least: float | None = None
    ) -> tuple[DetectedFace, ...]: ...


@dataclass(frozen=True)
class AlignOptions:
    """What a crop has to be to be kept.

    ``most_enlarged``: a face is enlarged by this factor at most, or there would be no detail to
    learn from. ``least_sharpness``: variance of the Laplacian of the crop, in squared levels.
    ``frontal``: leave profiles out.
    """

    size_px: int = 256
    template: str = "ffhq"
    threshold: float = 0.9
    most_enlarged: float = 1.3
    least_sharpness: float = 0.0
    frontal: bool = False


@dataclass(frozen=True)
class Line:
    """One face, or one photo without any: the crop's file, or why there is none."""

    photo: str
    face: int | None
    crop: str
    skipped: str
    score: float | None = None
    scale: float | None = None
    sharpness: float | None = None


def align_folder(
    source: Path, target: Path, detector: Detector, options: AlignOptions
) -> list[Line]:
    """Write a PNG for each usable face in ``source`` and ``manifest.csv``; return its lines.

    A photo that cannot be read is skipped and said to be. Raises DatasetError if ``source`` is no
    folder or holds no image.
    """
    files = _images_in(source)
    target.mkdir(parents=True, exist_ok=True)
    lines = []
    for file in files:
        name = file.relative_to(source).as_posix()
        for line, image in _crops(file, name, detector, options):
            if image is not None:
                path = target / line.crop
                path.parent.mkdir(parents=True, exist_ok=True)
                if not cv2.imwrite(str(path), np.ascontiguousarray(image[:, :, ::-1])):
                    raise DatasetError(f"{path} cannot be written")
            lines.append(line)
    _write_manifest(lines, target / "manifest.csv")
    return lines


def _crops(
    file: Path, name: str, detector: Detector, options: AlignOptions
) -> Iterator[tuple[Line, Image | None]]:
    try:
        pixels = decode(file.read_bytes(), Limits()).pixels
    except (InputError, OSError) as error:
        yield Line(name, None, "", f"cannot be read: {error}"), None
        return
    faces = detector.detect(pixels, options.threshold, _LEAST_SCORE)
    if not faces:
        yield Line(name, None, "", "no face was found"), None
    for number, face in enumerate(faces):
        yield _crop(pixels, name, number, face, options)


def _crop(
    pixels: Image, name: str, number: int, face: DetectedFace, options: AlignOptions
) -> tuple[Line, Image | None]:
    target = template_points(options.template, options.size_px)
    affine = similarity(face.landmarks, target)
    scale = scale_of(affine)
    image = crop(pixels, affine, options.size_px)
    sharpness = float(cv2.Laplacian(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), cv2.CV_64F).var())
    placed = transform(face.landmarks, affine)
    skipped = _why_not(face.score, scale, sharpness, placed, options)
    stem = Path(name).with_suffix("").as_posix()
    crop_name = "" if skipped else f"{stem}-{number}.png"
    figures = (round(face.score, 4), round(scale, 4), round(sharpness, 2))
    return Line(name, number, crop_name, skipped, *figures), None if skipped else image


def _why_not(
    score: float,
    scale: float,
    sharpness: float,
    landmarks: NDArray[np.float64],
    options: AlignOptions,
) -> str:
    """The reason to skip a face, or nothing."""
    if score <= options.threshold:
        return f"the detector is not sure: {score:.2f}"
    if scale > options.most_enlarged:
        return f"too small: it would be enlarged {scale:.1f} times"
    if options.frontal and _turned(landmarks) > _MOST_TURNED:
        return "a profile"
    if sharpness < options.least_sharpness:
        return f"not sharp: {sharpness:.0f}"
    return ""


def _turned(landmarks: NDArray[np.float64]) -> float:
    """0 for a frontal face, 1 if the nose stands below one eye, more in profile."""
    left, right, nose = landmarks[:3]
    line = right - left
    along = float((nose - left) @ line / max(float(line @ line), 1e-6))
    return abs(2.0 * along - 1.0)


def _images_in(source: Path) -> Sequence[Path]:
    if not source.is_dir():
        raise DatasetError(f"no folder at {source}: give a folder of photos")
    files = sorted(file for file in source.rglob("*") if file.suffix.lower() in SUFFIXES)
    if not files:
        raise DatasetError(f"{source} holds no image (looked for {', '.join(sorted(SUFFIXES))})")
    return files


def _write_manifest(lines: Sequence[Line], path: Path) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(("photo", "face", "crop", "skipped", "score", "scale", "sharpness"))
        for each in lines:
            values = (each.photo, each.face, each.crop, each.skipped)
            figures = (each.score, each.scale, each.sharpness)
            writer.writerow("" if value is None else value for value in (*values, *figures))
