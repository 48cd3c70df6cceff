"""A photo of many faces: how much goes to all that is not the network."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

import torch

from benchmarks.faces import crowd
from benchmarks.report import Report
from worker.engine import FaceOptions, ModelInfo, Restorer, load_restorer
from worker.engine.backends import Images
from worker.engine.batching.batcher import Answer
from worker.engine.controls import DEFAULT, Controls
from worker.engine.load import load_detector
from worker.imaging.decode import Photo, Pixels
from worker.imaging.encode import encode

_MAX_SHARE = 0.10
_REPETITIONS = 3


class Unchanged:
    """A backend that takes no time: what is left is everything else."""

    name, precision, takes_seed = "none", "fp32", False

    def __init__(self, size_px: int) -> None:
        self.in_px = self.out_px = size_px

    def infer(self, images: Images, seed: int = 0, controls: Controls = DEFAULT) -> Images:
        return images

    def run(
        self, crops: Sequence[Pixels], seed: int = 0, controls: Controls = DEFAULT
    ) -> list[Answer]:
        return list(crops)


def measure_whole_photo(report: Report, models_dir: Path, model: str) -> None:
    """Restore the crowd with the network, and with one that does nothing."""
    name, pixels = crowd()
    photo = Photo.of_pixels(pixels)
    restorer = load_restorer(model, models_dir=models_dir)
    restorer.warm_up()
    info = restorer.info
    total_s, faces = _restore(restorer, photo)
    restorer.close()
    idle = ModelInfo("none", "", info.size_px, "own", info.template, "fp32", "none")
    detector = load_detector(models_dir, torch.device("cpu"))
    bare = Restorer(
        Unchanged(info.size_px), detector, idle, max_batch=info.batch, max_batch_wait_ms=5
    )
    bare.warm_up()
    rest_s = min(_restore(bare, photo)[0] for _ in range(_REPETITIONS))
    bare.close()
    report.section(
        "A whole photo",
        "Detect, align, restore, paste, encode; and the same with a network that takes no time.",
    )
    report.say("photo", f"{name}, {pixels.shape[1]} x {pixels.shape[0]}, {faces} faces")
    report.say("runs", f"{info.backend} {info.precision} in batches of {info.batch}")
    report.say("seconds in all", total_s)
    report.say("seconds without the network", rest_s)
    report.bar("share that is not the network", rest_s / total_s, "<=", _MAX_SHARE)


def _restore(restorer: Restorer, photo: Photo) -> tuple[float, int]:
    start_s = time.perf_counter()
    done = restorer.restore(photo, FaceOptions())
    encode(done.photo, "png", 95)
    restored = sum(face.status == "restored" for face in done.faces)
    return time.perf_counter() - start_s, restored
