"""A restorer without a network, an engine without a process, and a lease that is never lost."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Mapping
from typing import Any

from shared.contract.restorations import RestorationParameters
from shared.jobs.job import Progress
from tests.models import stand_in
from worker.decoder.pixels import photo_of
from worker.decoder.result_file import Decoded
from worker.engine import FaceOptions, FaceRecord, ModelInfo, Restoration
from worker.engine_process.handler import ImageRestorer, OnProgress, Workbench
from worker.engine_process.request import Order
from worker.engine_process.result import Finished
from worker.imaging.decode import Photo

MODEL = "scripted"


def order(model: str = MODEL, **parameters: Any) -> Order:
    """A request as the engine's process gets it."""
    request = RestorationParameters(**parameters).model_dump(mode="json")
    return Order("job_1", model, request["options"], request["output"])


class ScriptedRestorer:
    """Stands in for a model: inverts the photo, or does what the test says in between."""

    def __init__(self, during: Callable[[], None] = lambda: None) -> None:
        self.during = during
        self.photos: list[Photo] = []

    @property
    def info(self) -> ModelInfo:
        return stand_in(MODEL, "scripted")

    def act(self, photo: Photo) -> None:
        """What happens to this photo, in a thread of its own, before it is inverted."""
        self.during()

    def restore(
        self, photo: Photo, options: FaceOptions, on_progress: OnProgress = lambda *_: None
    ) -> Restoration:
        self.photos.append(photo)
        on_progress("detecting", 0, None)
        self.act(photo)
        on_progress("restoring", 1, 1)
        inverted = dataclasses.replace(photo, pixels=255 - photo.pixels)
        face = FaceRecord(
            index=0,
            box=(1.0, 2.0, 30.0, 40.0),
            landmarks=((1.0, 1.0),) * 5,
            score=0.99,
            status="restored",
            reason=None,
            crop_before=photo.pixels,
            crop_after=inverted.pixels,
        )
        timings_ms = {"detect": 1, "restore": 2, "paste": 3}
        return Restoration(inverted, (face,), timings_ms, warnings=("odd light",))


class EngineHere:
    """The engine child's own work, done in this process."""

    def __init__(self, restorers: Mapping[str, ImageRestorer]) -> None:
        self._workbench = Workbench(restorers)

    def restore(
        self,
        order: Order,
        photo: int,
        on_progress: OnProgress,
        check: Callable[[], None],
        *,
        alone: bool = False,
    ) -> Finished:
        with Decoded(os.dup(photo)) as decoded:
            picture = photo_of(decoded)
        return Finished(self._workbench.carry_out(order, picture, on_progress))


class Freedom:
    """A lease that is never lost; keeps what it is told."""

    def __init__(self) -> None:
        self.heard: list[Progress] = []

    def report(self, progress: Progress) -> None:
        self.heard.append(progress)

    def check(self) -> None:
        """Go on."""
