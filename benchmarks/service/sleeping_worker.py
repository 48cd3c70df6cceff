"""A worker whose model sleeps: ``python -m benchmarks.service.sleeping_worker``."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from shared.settings import Settings, load_settings
from shared.telemetry import configure_logging
from worker.app import serve
from worker.engine import Detection, FaceOptions, ModelInfo, Restoration
from worker.engine.faces.detector import DetectedFace
from worker.engine.stage_timer import OnProgress
from worker.engine_process.request_handler import ImageRestorer
from worker.imaging.decode import Photo

MODEL = "sleeper"
SLEEP_S = 0.25
TIMES = "times"


def load_restorers(settings: Settings) -> Mapping[str, ImageRestorer]:
    """Return the model that sleeps, by its name."""
    return {MODEL: SleepingRestorer(settings.models_dir / TIMES)}


class SleepingRestorer:
    """A restorer that sleeps for each photo, one at a time, and logs start and end to a file."""

    def __init__(self, times: Path) -> None:
        self._times, self._device = times, threading.Lock()

    @property
    def info(self) -> ModelInfo:
        return ModelInfo(
            name=MODEL,
            sha256="0" * 64,
            size_px=64,
            licence="Apache-2.0",
            template="ffhq",
            precision="fp32",
            backend="sleep",
        )

    def restore(
        self,
        photo: Photo,
        options: FaceOptions,
        on_progress: OnProgress = lambda _stage, _done, _total: None,
        faces_found: Sequence[DetectedFace] | None = None,
    ) -> Restoration:
        on_progress("restoring", 0, 1)
        with self._device:
            start_s = time.monotonic()
            time.sleep(SLEEP_S)
            with self._times.open("a") as times:
                times.write(f"{start_s} {time.monotonic()}\n")
        return Restoration(photo, (), {"restore": round(1000 * SLEEP_S)})

    def detect(
        self, photo: Photo, on_progress: OnProgress = lambda _stage, _done, _total: None
    ) -> Detection:
        return Detection(())


if __name__ == "__main__":
    settings = load_settings()
    configure_logging(settings, "worker")
    serve(settings, load_restorers="benchmarks.service.sleeping_worker:load_restorers")
