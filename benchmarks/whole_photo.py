"""The time of a photo with many faces, and the share of it outside the network."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

import torch

from benchmarks.faces import group_photo
from benchmarks.report import Report
from worker.engine import FaceOptions, ModelInfo, Restorer, load_restorer
from worker.engine.backends.backend import Images
from worker.engine.batching.batcher import RestoredCrop
from worker.engine.gpen.controls import DEFAULT_CONTROLS, GeneratorControls
from worker.engine.load import load_detector
from worker.imaging.decode import Photo, Pixels
from worker.imaging.encode import encode

_MAX_SHARE = 0.10
_REPETITIONS = 3


class IdentityBackend:
    """A backend that returns its input at once, so that only the rest of the engine takes time."""

    name, precision, uses_seed = "none", "fp32", False
    has_controls, batches = False, True

    def __init__(self, size_px: int) -> None:
        self.in_px = self.out_px = size_px

    def infer(
        self, images: Images, seed: int = 0, controls: GeneratorControls = DEFAULT_CONTROLS
    ) -> Images:
        return images

    def run(
        self, crops: Sequence[Pixels], seed: int = 0, controls: GeneratorControls = DEFAULT_CONTROLS
    ) -> list[RestoredCrop]:
        return list(crops)


def measure_whole_photo(report: Report, models_dir: Path, model: str) -> None:
    """Restore a group photo with the network, and with one that returns its input."""
    name, pixels = group_photo()
    photo = Photo.of_pixels(pixels)
    restorer = load_restorer(model, models_dir=models_dir)
    restorer.warm_up()
    info = restorer.info
    total_s, faces = _restore(restorer, photo)
    restorer.close()
    idle = ModelInfo("none", "", info.size_px, "own", info.template, "fp32", "none")
    detector = load_detector(models_dir, torch.device("cpu"))
    bare = Restorer(
        IdentityBackend(info.size_px), detector, idle, max_batch=info.batch, max_batch_wait_ms=5
    )
    bare.warm_up()
    rest_s = min(_restore(bare, photo)[0] for _ in range(_REPETITIONS))
    bare.close()
    report.section(
        "A whole photo",
        "Detect, align, restore, paste, encode; then again with a network that returns its input.",
    )
    report.fact("photo", f"{name}, {pixels.shape[1]} x {pixels.shape[0]}, {faces} faces")
    report.fact("runs", f"{info.backend} {info.precision} in batches of {info.batch}")
    report.fact("seconds in total", total_s)
    report.fact("seconds without the network", rest_s)
    report.require("share outside the network", rest_s / total_s, "<=", _MAX_SHARE)


def _restore(restorer: Restorer, photo: Photo) -> tuple[float, int]:
    start_s = time.perf_counter()
    done = restorer.restore(photo, FaceOptions())
    encode(done.photo, "png", 95)
    restored = sum(face.status == "restored" for face in done.faces)
    return time.perf_counter() - start_s, restored
