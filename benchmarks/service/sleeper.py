"""``python -m benchmarks.service.sleeper``: a worker whose model sleeps, so that all else shows."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from pathlib import Path

from shared.settings import Settings, load_settings
from shared.telemetry import configure_logging
from worker.app import serve
from worker.engine import FaceOptions, ModelInfo, Restoration
from worker.engine_process.handler import ImageRestorer, OnProgress
from worker.imaging.decode import Photo

MODEL = "sleeper"
SLEEP_S = 0.25
TIMES = "times"


def load_restorers(settings: Settings) -> Mapping[str, ImageRestorer]:
    """The one model."""
    return {MODEL: Sleeper(settings.models_dir / TIMES)}


class Sleeper:
    """Works on one photo at a time, and writes down from when to when it did."""

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
    ) -> Restoration:
        on_progress("restoring", 0, 1)
        with self._device:
            start_s = time.monotonic()
            time.sleep(SLEEP_S)
            with self._times.open("a") as times:
                times.write(f"{start_s} {time.monotonic()}\n")
        return Restoration(photo, (), {"restore": round(1000 * SLEEP_S)})


if __name__ == "__main__":
    settings = load_settings()
    configure_logging(settings, "worker")
    serve(settings, load_restorers="benchmarks.service.sleeper:load_restorers")
