"""The engine of this suite: a real ``ImageRestorer`` that does what a photo orders.

``load_restorers`` is what the worker is told to load its models with. Each run is written to the
file ``runs`` in ``settings.models_dir`` before it does anything: how often a photo was begun is
told by nobody who could be wrong about it.
"""

from __future__ import annotations

import dataclasses
import os
import signal
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from shared.settings import Settings
from tests.chaos.devices import Device, Gpu, Pretence
from tests.chaos.photos import Act, Order, read
from tests.models import stand_in
from worker.engine import FaceOptions, FaceRecord, ModelInfo, Restoration
from worker.engine.batching.batcher import Answer, Batcher
from worker.engine.controls import Controls
from worker.engine_process.handler import ImageRestorer, OnProgress
from worker.imaging.decode import Photo, Pixels

MODEL = "chaos"
RUNS = "runs"
_STEP_S = 0.25
_FACES = 4  # of each photo: enough for a batch that can be halved
_PATIENCE_MS = 100  # on a busy machine, too, the faces of one photo are one batch


def load_restorers(settings: Settings) -> Mapping[str, ImageRestorer]:
    """The one model of this suite."""
    device = Gpu() if settings.device == "cuda" else Pretence()
    return {MODEL: ObedientRestorer(settings.models_dir, device)}


class ObedientRestorer:
    """Inverts the photo, after it has done what the photo orders."""

    def __init__(self, folder: Path, device: Device) -> None:
        self._runs = folder / RUNS
        self._device = device
        self._starved: set[int] = set()
        self._batcher = Batcher(
            self._invert,
            max_batch=16,
            max_wait_ms=_PATIENCE_MS,
            is_out_of_memory=device.is_out_of_memory,
        )

    @property
    def info(self) -> ModelInfo:
        return stand_in(MODEL, "obedience")

    def restore(
        self,
        photo: Photo,
        options: FaceOptions,
        on_progress: OnProgress = lambda _stage, _done, _total: None,
    ) -> Restoration:
        order = read(photo.pixels)
        first = self._begin(order.serial)
        on_progress("detecting", 0, None)
        steps = round(order.seconds / _STEP_S)
        for step in range(steps):
            time.sleep(_STEP_S)
            on_progress("restoring", step, steps)
        if first or not order.once:
            _obey(order.act)
        answers = [
            future.result()
            for future in [self._batcher.submit(photo.pixels) for _ in range(_FACES)]
        ]
        on_progress("pasting", _FACES, _FACES)
        assert answers[0] is not None
        done = dataclasses.replace(photo, pixels=answers[0])
        return Restoration(done, (_face(photo, done, options),), {"detect": 1, "restore": 1})

    def _begin(self, serial: int) -> bool:
        """Write the run down; True for the first one of this photo."""
        before = self._runs.read_text().split("\n") if self._runs.exists() else []
        with self._runs.open("a") as runs:
            runs.write(f"{serial} {os.getpid()}\n")
        return not any(line.split(" ")[0] == str(serial) for line in before)

    def _invert(self, crops: Sequence[Pixels], seed: int, controls: Controls) -> Sequence[Answer]:
        """The network. Memory and context are those of the whole device, as on a GPU."""
        for order in map(read, crops):
            if order.act is Act.STARVE and not (order.once and order.serial in self._starved):
                self._starved.add(order.serial)
                self._device.starve()
            if order.act is Act.BREAK and self._first_run(order):
                self._device.break_down()
        return self._device.invert(crops)

    def _first_run(self, order: Order) -> bool:
        begun = self._runs.read_text().split("\n")
        return not order.once or sum(line.startswith(f"{order.serial} ") for line in begun) == 1


def _obey(act: Act) -> None:
    if act is Act.CRASH:
        signal.raise_signal(signal.SIGSEGV)
    elif act is Act.HANG:
        threading.Event().wait()


def _face(before: Photo, after: Photo, options: FaceOptions) -> FaceRecord:
    return FaceRecord(
        index=0,
        box=(1.0, 2.0, 20.0, 20.0),
        landmarks=((1.0, 1.0),) * 5,
        score=0.99,
        status="restored",
        crop_before=before.pixels if options.crops else None,
        crop_after=after.pixels if options.crops else None,
    )
