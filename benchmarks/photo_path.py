"""What the path around the network brings or costs, on faces whose sharp originals are known.

``python -m benchmarks.photo_path --photos val-256.zip``; docs/benchmarks.md says what is measured.
"""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, get_args

import click
import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.report import Report
from worker.engine import FaceOptions, ModelInfo, Restorer
from worker.engine.backends import Backend, Images
from worker.engine.backends.selection import load_backend
from worker.engine.batching.batcher import Answer
from worker.engine.controls import DEFAULT, Controls
from worker.engine.faces.detector import DetectedFace, FaceDetector
from worker.engine.load import open_shelf
from worker.imaging.decode import Photo, Pixels
from worker.imaging.geometry import (
    Resampling,
    face_mask,
    similarity,
    template_points,
    transform,
    uncrop,
)
from worker.training.data.photos import load_photos
from worker.training.data.degradations import RECIPES, VALIDATION, Recipe, degrade
from worker.weights.catalogue import STARTER

RESULTS = Path(__file__).parent / "results"
TEMPLATE = "ffhq"
SEED = 2105_06070
#: What is hardly a face any more.
EXTREME = Recipe((3.0, 6.0), (10.0, 16.0), (10.0, 25.0), (10, 30))
#: A scan of a grainy print: the grain is as fine as the scan.
GRAINY = Recipe((1.0, 3.0), (1.0, 1.0), (8.0, 20.0), (80, 95))
#: Sides of a face's crop in the photo, over that of the network's.
SCALES = (0.5, 1.0, 2.0, 4.0)
_SECTIONS = ("harm", "touch", "resampling")


class Remembering:
    """A backend that works once for each crop: options that come after it cost nothing more."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self.name, self.precision, self.takes_seed = backend.name, backend.precision, False
        self.in_px, self.out_px = backend.in_px, backend.out_px
        self._answers: dict[bytes, Answer] = {}

    def infer(self, images: Images, seed: int = 0, controls: Controls = DEFAULT) -> Images:
        return self._backend.infer(images, seed, controls)

    def run(
        self, crops: Sequence[Pixels], seed: int = 0, controls: Controls = DEFAULT
    ) -> list[Answer]:
        keys = [hashlib.sha256(crop.tobytes()).digest() for crop in crops]
        new = [i for i, key in enumerate(keys) if key not in self._answers]
        if new:
            found = self._backend.run([crops[i] for i in new], seed, controls)
            self._answers.update(zip((keys[i] for i in new), found, strict=True))
        return [self._answers[key] for key in keys]


class Known(FaceDetector):
    """Finds the face where it was put."""

    def __init__(self, landmarks: NDArray[np.float64], side_px: float) -> None:
        self._face = DetectedFace((0.0, 0.0, side_px, side_px), landmarks, 1.0)

    def detect(self, *_: Any, **__: Any) -> tuple[DetectedFace, ...]:
        return (self._face,)


def restorer_with(backend: Backend, detector: FaceDetector) -> Restorer:
    """A restorer of one face at a time."""
    info = ModelInfo(STARTER, "", backend.out_px, "", TEMPLATE, backend.precision, backend.name)
    return Restorer(backend, detector, info, max_batch=1, max_batch_wait_ms=0)


def measure_harm(report: Report, backend: Backend, faces: Sequence[Pixels]) -> None:
    """PSNR of all faces restored, and of those that need it."""
    report.section(
        "Do no harm",
        "PSNR in dB of the mean error of all faces; a face that is left alone has its own.",
    )
    rows = []
    with closing(restorer_with(backend, _nowhere(backend))) as restorer:
        for name, given in _spoiled(faces, ("undamaged", "light", "validation", "heavy")):
            everyone, _ = _restored(restorer, given, skip_sharp=False)
            gated, skipped = _restored(restorer, given, skip_sharp=True)
            figures = [_psnr(images, faces) for images in (given, everyone, gated)]
            rows.append((name, *map(_db, figures), f"{skipped} of {len(faces)}"))
    columns = ("faces", "as they came", "all restored", "sharp ones left", "left")
    report.table("harm", columns, rows)


def measure_touch(report: Report, backend: Backend, faces: Sequence[Pixels]) -> None:
    """PSNR with the network's answer as it is, with the face's own colour, and filtered."""
    report.section("Colour kept, post-filter", "PSNR in dB of the mean error, all faces restored.")
    rows = []
    ways: tuple[dict[str, bool], ...] = ({}, {"keep_colour": True}, {"post_filter": True})
    with closing(restorer_with(backend, _nowhere(backend))) as restorer:
        for name, given in _spoiled(faces, ("light", "validation", "heavy", "extreme")):
            figures = [
                _psnr(_restored(restorer, given, skip_sharp=False, **way)[0], faces) for way in ways
            ]
            rows.append((name, *map(_db, (_psnr(given, faces), *figures))))
    report.table("touch", ("faces", "as they came", "plain", "keep_colour", "post_filter"), rows)


def measure_resampling(report: Report, backend: Backend, faces: Sequence[Pixels]) -> None:
    """PSNR in the photo, under the mask, by how the face came into the crop."""
    ways: tuple[Resampling, ...] = get_args(Resampling)
    report.section(
        "Resampling into the crop",
        "Faces turned by 10°, put into a photo at a scale and spoiled there; mean PSNR in dB under "
        "the mask, in the photo.",
    )
    rows = []
    for name, recipe in (("validation", VALIDATION), ("grainy", GRAINY)):
        for scale in SCALES:
            found = [
                _in_photo(backend, face, scale, ways, (recipe, seed))
                for seed, face in enumerate(faces)
            ]
            rows.append((f"{name}, {scale:g}", *map(_db, np.mean(found, axis=0))))
    report.table("resampling", ("damage, scale of the face", "as it came", *ways), rows)


def _in_photo(
    backend: Backend,
    face: Pixels,
    scale: float,
    ways: Sequence[Resampling],
    damage: tuple[Recipe, int],
) -> list[float]:
    size_px = backend.in_px
    side_px = round(1.3 * size_px * scale)
    middle = (size_px / 2, size_px / 2)
    to_photo = np.asarray(cv2.getRotationMatrix2D(middle, 10, 1.0), np.float64) * scale
    to_photo[:, 2] += side_px / 2 - size_px / 2 * scale
    fine = _enlarged_or_averaged(face, scale)
    turn = to_photo.copy()
    turn[:, :2] *= size_px / len(fine)
    sharp = np.asarray(
        cv2.warpAffine(
            fine, turn, (side_px, side_px), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT_101
        ),
        np.uint8,
    )
    recipe, seed = damage
    spoiled = degrade(sharp, np.random.default_rng((SEED, seed)), recipe)
    landmarks = transform(template_points(TEMPLATE, size_px), to_photo)
    affine = similarity(landmarks, template_points(TEMPLATE, size_px))
    weight = uncrop(
        face_mask(transform(landmarks, affine), size_px), affine, (0, 0, side_px, side_px)
    )
    images = [spoiled]
    with closing(restorer_with(backend, Known(landmarks, 1000.0))) as restorer:
        for way in ways:
            options = FaceOptions(resampling=way, skip_sharp=False, crops=False)
            images.append(restorer.restore(Photo.of_pixels(spoiled), options).photo.pixels)
    return [_psnr([image], [sharp], weight) for image in images]


def _enlarged_or_averaged(face: Pixels, scale: float) -> Pixels:
    how = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    side_px = round(len(face) * scale)
    return np.asarray(cv2.resize(face, (side_px, side_px), interpolation=how), np.uint8)


def _nowhere(backend: Backend) -> FaceDetector:
    """For photos that are aligned: nothing is looked for."""
    return Known(template_points(TEMPLATE, backend.in_px), backend.in_px)


def _spoiled(faces: Sequence[Pixels], names: Sequence[str]) -> list[tuple[str, Sequence[Pixels]]]:
    recipes: dict[str, Recipe] = {**RECIPES, "extreme": EXTREME}

    def one(name: str, number: int, face: Pixels) -> Pixels:
        return degrade(face, np.random.default_rng((SEED, number)), recipes[name])

    return [
        (name, [one(name, *each) for each in enumerate(faces)] if name in recipes else faces)
        for name in names
    ]


def _restored(
    restorer: Restorer, given: Sequence[Pixels], **options: Any
) -> tuple[list[Pixels], int]:
    """The faces afterwards, and how many were left alone."""
    asked = FaceOptions(aligned=True, crops=False, **options)
    done = [restorer.restore(Photo.of_pixels(image), asked) for image in given]
    skipped = sum(face.reason == "already-sharp" for one in done for face in one.faces)
    return [one.photo.pixels for one in done], skipped


def _psnr(
    images: Sequence[Pixels],
    references: Sequence[Pixels],
    weight: NDArray[np.float32] | None = None,
) -> float:
    errors = [
        np.average(((a.astype(float) - b) ** 2).mean(2), weights=weight)
        for a, b in zip(images, references, strict=True)
    ]
    error = float(np.mean(errors))
    return float("inf") if error == 0 else 10 * float(np.log10(255**2 / error))


def _db(figure: float) -> str:
    return "unchanged" if figure == float("inf") else f"{figure:.2f}"


_MEASURES: dict[str, Callable[[Report, Backend, Sequence[Pixels]], None]] = {
    "harm": measure_harm,
    "touch": measure_touch,
    "resampling": measure_resampling,
}


@click.command()
@click.option("--photos", type=click.Path(path_type=Path, exists=True), required=True)
@click.option("--faces", type=click.IntRange(1), default=80, show_default=True, help="At most.")
@click.option("--section", "sections", type=click.Choice(_SECTIONS), multiple=True)
@click.option("--out", type=click.Path(path_type=Path), default=RESULTS / "photo_path")
def main(*, photos: Path, faces: int, sections: tuple[str, ...], out: Path) -> None:
    """Measure what is around the network, with the model that comes with the package."""
    with tempfile.TemporaryDirectory() as folder:
        shelf = open_shelf(STARTER, models_dir=Path(folder))
        backend, _ = load_backend(shelf, torch.device("cpu"), backend="torch")
    report = Report("The path around the network")
    images = list(load_photos(photos, backend.in_px).images)[:faces]
    report.say("model", f"{STARTER}, {backend.precision}")
    report.say("faces", len(images))
    for section in sections or _SECTIONS:
        _MEASURES[section](report, Remembering(backend), images)
    report.write(out)


if __name__ == "__main__":
    main()
