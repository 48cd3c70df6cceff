"""Stand-ins: a restorer without a network, an engine without a process, a job that goes on."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from shared.contract.restorations import RestorationParameters
from shared.jobs.job import Progress
from shared.jobs.workers import ServedModel
from tests.models import stand_in
from worker.decoder.decoded_photo import DecodedPhoto
from worker.decoder.photo_arrays import photo_of
from worker.engine import (
    Detection,
    FaceOptions,
    FaceRecord,
    FoundFace,
    ModelInfo,
    Restoration,
)
from worker.engine.faces.detector import DetectedFace
from worker.engine.stage_timer import OnProgress, StageTimer
from worker.engine_process.protocol import RestoreRequest
from worker.engine_process.request_handler import ImageRestorer, RequestHandler
from worker.engine_process.result_file import ResultFile
from worker.imaging.decode import Photo

MODEL = "scripted"
#: What a worker announces of the scripted restorer.
SERVED = ServedModel(MODEL, "0" * 64, 64, "Apache-2.0", "fp32", "scripted", None)


def restore_request(model: str = MODEL, **parameters: Any) -> RestoreRequest:
    """Return a request as the engine process receives it."""
    request = RestorationParameters(**parameters).model_dump(mode="json")
    return RestoreRequest("job_1", model, request["options"], request["output"])


class ScriptedRestorer:
    """Inverts the photo, after it has called ``during``."""

    def __init__(self, during: Callable[[], None] = lambda: None) -> None:
        self.during = during
        self.photos: list[Photo] = []
        self.faces_found: Sequence[DetectedFace] | None = None

    @property
    def info(self) -> ModelInfo:
        return stand_in(MODEL, "scripted")

    def act(self, photo: Photo) -> None:
        """Called before the photo is inverted, in the thread of its job."""
        self.during()

    def detect(self, photo: Photo, on_progress: OnProgress = lambda *_: None) -> Detection:
        on_progress("detecting", 0, None)
        face = FoundFace(
            index=0,
            box=(1.0, 2.0, 30.0, 40.0),
            landmarks=((1.0, 1.0),) * 5,
            score=0.99,
            sharpness=0.25,
            sharp=True,
            preview=photo.pixels[2:40, 1:30],
        )
        return Detection((face,), {"detect": 1}, warnings=("odd light",))

    def restore(
        self,
        photo: Photo,
        options: FaceOptions,
        on_progress: OnProgress = lambda *_: None,
        faces_found: Sequence[DetectedFace] | None = None,
    ) -> Restoration:
        self.photos.append(photo)
        self.faces_found = faces_found
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


class InProcessEngine:
    """Does the work of the engine process in this process."""

    def __init__(self, restorers: Mapping[str, ImageRestorer]) -> None:
        self._handler = RequestHandler(restorers)

    def restore(
        self,
        request: RestoreRequest,
        photo: int,
        on_progress: OnProgress,
        check: Callable[[], None],
        *,
        alone: bool = False,
    ) -> ResultFile:
        with DecodedPhoto(os.dup(photo)) as decoded:
            picture = photo_of(decoded)
        return ResultFile(self._handler.handle(request, picture, on_progress))


class RecordingContext:
    """A JobContext that never stops the job; it records the progress."""

    def __init__(self) -> None:
        self.steps: list[Progress] = []
        self.timer = StageTimer()

    def report(self, progress: Progress) -> None:
        self.steps.append(progress)

    def check(self) -> None:
        """Never stop the job."""
