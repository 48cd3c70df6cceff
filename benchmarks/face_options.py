"""PSNR of the options around the network, on faces whose sharp originals are known.

Run ``python -m benchmarks.face_options --photos val-256.zip``; docs/benchmarks.md says more.
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
from worker.engine.backends.backend import Backend, Images
from worker.engine.backends.backend_selection import load_backend
from worker.engine.batching.batcher import RestoredCrop
from worker.engine.faces.detector import DetectedFace, FaceDetector
from worker.engine.faces.paste_mask import face_mask
from worker.engine.gpen.controls import DEFAULT_CONTROLS, GeneratorControls
from worker.engine.load import open_artifact_cache
from worker.imaging.decode import Photo, Pixels
from worker.imaging.geometry import (
    Resampling,
    similarity,
    template_points,
    transform,
    uncrop,
)
from worker.training.data.degradations import RECIPES, VALIDATION, Recipe, degrade
from worker.training.data.photos import load_photos
from worker.training.measure.metrics import psnr
from worker.weights.catalogue import STARTER

RESULTS = Path(__file__).parent / "results"
TEMPLATE = "ffhq"
SEED = 2105_06070
#: Damage after which a face is hardly recognizable.
EXTREME = Recipe((3.0, 6.0), (10.0, 16.0), (10.0, 25.0), (10, 30))
#: A scan of a grainy print: the grain is as fine as the scan.
GRAINY = Recipe((1.0, 3.0), (1.0, 1.0), (8.0, 20.0), (80, 95))
#: Side of a face's crop in the photo, divided by the side of the network's input.
SCALES = (0.5, 1.0, 2.0, 4.0)
_SECTIONS = ("skip-sharp", "touch-up", "resampling")


class CachingBackend:
    """A backend that runs once for each crop; options applied after it reuse the result."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self.name, self.precision, self.uses_seed = backend.name, backend.precision, False
        self.in_px, self.out_px = backend.in_px, backend.out_px
        self.has_controls, self.batches = backend.has_controls, backend.batches
        self._answers: dict[bytes, RestoredCrop] = {}

    def infer(
        self, images: Images, seed: int = 0, controls: GeneratorControls = DEFAULT_CONTROLS
    ) -> Images:
        return self._backend.infer(images, seed, controls)

    def run(
        self, crops: Sequence[Pixels], seed: int = 0, controls: GeneratorControls = DEFAULT_CONTROLS
    ) -> list[RestoredCrop]:
        keys = [hashlib.sha256(crop.tobytes()).digest() for crop in crops]
        new = [i for i, key in enumerate(keys) if key not in self._answers]
        if new:
            found = self._backend.run([crops[i] for i in new], seed, controls)
            self._answers.update(zip((keys[i] for i in new), found, strict=True))
        return [self._answers[key] for key in keys]


class FixedDetector(FaceDetector):
    """Returns one face at given landmarks, (5, 2) in pixels of the photo."""

    def __init__(self, landmarks: NDArray[np.float64], side_px: float) -> None:
        self._face = DetectedFace((0.0, 0.0, side_px, side_px), landmarks, 1.0)

    def detect(self, *_: Any, **__: Any) -> tuple[DetectedFace, ...]:
        return (self._face,)


def restorer_with(backend: Backend, detector: FaceDetector) -> Restorer:
    """Return a restorer with batches of one face."""
    info = ModelInfo(STARTER, "", backend.out_px, "", TEMPLATE, backend.precision, backend.name)
    return Restorer(backend, detector, info, max_batch=1, max_batch_wait_ms=0)


def measure_skip_sharp(report: Report, backend: Backend, faces: Sequence[Pixels]) -> None:
    """PSNR if all faces are restored, and if sharp faces are skipped."""
    report.section(
        "Sharp faces",
        "PSNR in dB of the mean error of all faces; a skipped face keeps its own error.",
    )
    rows = []
    with closing(restorer_with(backend, _unused_detector(backend))) as restorer:
        for name, given in _damaged(faces, ("undamaged", "light", "validation", "heavy")):
            all_restored, _ = _restored(restorer, given, skip_sharp=False)
            sharp_skipped, skipped = _restored(restorer, given, skip_sharp=True)
            values = [_psnr(images, faces) for images in (given, all_restored, sharp_skipped)]
            rows.append((name, *map(_db, values), f"{skipped} of {len(faces)}"))
    columns = ("faces", "input", "all restored", "sharp skipped", "skipped")
    report.table("skip_sharp", columns, rows)


def measure_touch_up(report: Report, backend: Backend, faces: Sequence[Pixels]) -> None:
    """PSNR of the network's output as it is, with the colours of the input, and filtered."""
    report.section("Colours kept, post-filter", "PSNR in dB of the mean error, all faces restored.")
    rows = []
    variants: tuple[dict[str, bool], ...] = ({}, {"keep_colour": True}, {"post_filter": True})
    with closing(restorer_with(backend, _unused_detector(backend))) as restorer:
        for name, given in _damaged(faces, ("light", "validation", "heavy", "extreme")):
            values = [
                _psnr(_restored(restorer, given, skip_sharp=False, **variant)[0], faces)
                for variant in variants
            ]
            rows.append((name, *map(_db, (_psnr(given, faces), *values))))
    report.table("touch_up", ("faces", "input", "plain", "keep_colour", "post_filter"), rows)


def measure_resampling(report: Report, backend: Backend, faces: Sequence[Pixels]) -> None:
    """PSNR in the photo, under the mask, by the interpolation that makes the crop."""
    variants: tuple[Resampling, ...] = get_args(Resampling)
    report.section(
        "Resampling into the crop",
        "Faces rotated by 10°, placed into a photo at a scale and damaged there; mean PSNR in dB "
        "under the mask, in the photo.",
    )
    rows = []
    for name, recipe in (("validation", VALIDATION), ("grainy", GRAINY)):
        for scale in SCALES:
            found = [
                _in_photo(backend, face, scale, variants, (recipe, seed))
                for seed, face in enumerate(faces)
            ]
            rows.append((f"{name}, {scale:g}", *map(_db, np.mean(found, axis=0))))
    report.table("resampling", ("damage, scale of the face", "input", *variants), rows)


def _in_photo(
    backend: Backend,
    face: Pixels,
    scale: float,
    variants: Sequence[Resampling],
    damage: tuple[Recipe, int],
) -> list[float]:
    size_px = backend.in_px
    side_px = round(1.3 * size_px * scale)
    middle = (size_px / 2, size_px / 2)
    to_photo = np.asarray(cv2.getRotationMatrix2D(middle, 10, 1.0), np.float64) * scale
    to_photo[:, 2] += side_px / 2 - size_px / 2 * scale
    fine = _resized(face, scale)
    turn = to_photo.copy()
    turn[:, :2] *= size_px / len(fine)
    sharp = np.asarray(
        cv2.warpAffine(
            fine, turn, (side_px, side_px), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT_101
        ),
        np.uint8,
    )
    recipe, seed = damage
    damaged = degrade(sharp, np.random.default_rng((SEED, seed)), recipe)
    landmarks = transform(template_points(TEMPLATE, size_px), to_photo)
    affine = similarity(landmarks, template_points(TEMPLATE, size_px))
    weight = uncrop(
        face_mask(transform(landmarks, affine), size_px), affine, (0, 0, side_px, side_px)
    )
    images = [damaged]
    with closing(restorer_with(backend, FixedDetector(landmarks, 1000.0))) as restorer:
        for variant in variants:
            options = FaceOptions(resampling=variant, skip_sharp=False, crops=False)
            images.append(restorer.restore(Photo.of_pixels(damaged), options).photo.pixels)
    return [_masked_psnr(image, sharp, weight) for image in images]


def _resized(face: Pixels, scale: float) -> Pixels:
    how = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    side_px = round(len(face) * scale)
    return np.asarray(cv2.resize(face, (side_px, side_px), interpolation=how), np.uint8)


def _unused_detector(backend: Backend) -> FaceDetector:
    """A detector for aligned crops, for which it is never called."""
    return FixedDetector(template_points(TEMPLATE, backend.in_px), backend.in_px)


def _damaged(faces: Sequence[Pixels], names: Sequence[str]) -> list[tuple[str, Sequence[Pixels]]]:
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
    """Return the restored faces, and how many were skipped as sharp."""
    face_options = FaceOptions(aligned=True, crops=False, **options)
    done = [restorer.restore(Photo.of_pixels(image), face_options) for image in given]
    skipped = sum(face.reason == "already-sharp" for one in done for face in one.faces)
    return [one.photo.pixels for one in done], skipped


def _psnr(images: Sequence[Pixels], references: Sequence[Pixels]) -> float:
    """PSNR of the mean error of all images, in dB; infinite if all are equal."""
    return psnr(np.concatenate(images), np.concatenate(references))


def _masked_psnr(image: Pixels, reference: Pixels, weight: NDArray[np.float32]) -> float:
    """PSNR in dB with a weight for each pixel, which no library function offers."""
    squared_error = ((image.astype(float) - reference) ** 2).mean(2)
    return 10 * float(np.log10(255**2 / np.average(squared_error, weights=weight)))


def _db(value: float) -> str:
    return "unchanged" if value == float("inf") else f"{value:.2f}"


_MEASURES: dict[str, Callable[[Report, Backend, Sequence[Pixels]], None]] = {
    "skip-sharp": measure_skip_sharp,
    "touch-up": measure_touch_up,
    "resampling": measure_resampling,
}


@click.command()
@click.option("--photos", type=click.Path(path_type=Path, exists=True), required=True)
@click.option(
    "--faces",
    type=click.IntRange(1),
    default=80,
    show_default=True,
    help="Largest number of faces.",
)
@click.option("--section", "sections", type=click.Choice(_SECTIONS), multiple=True)
@click.option("--out", type=click.Path(path_type=Path), default=RESULTS / "face_options")
def main(*, photos: Path, faces: int, sections: tuple[str, ...], out: Path) -> None:
    """Measure the options around the network, with the model in the package."""
    with tempfile.TemporaryDirectory() as folder:
        artifacts = open_artifact_cache(STARTER, models_dir=Path(folder))
        backend, _ = load_backend(artifacts, torch.device("cpu"), backend="torch")
    report = Report("Face options")
    images = list(load_photos(photos, backend.in_px).images)[:faces]
    report.fact("model", f"{STARTER}, {backend.precision}")
    report.fact("faces", len(images))
    for section in sections or _SECTIONS:
        _MEASURES[section](report, CachingBackend(backend), images)
    report.write(out)


if __name__ == "__main__":
    main()
