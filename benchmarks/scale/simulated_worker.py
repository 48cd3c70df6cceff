"""A worker with a simulated device: ``python -m benchmarks.scale.simulated_worker``.

Messages, claims, leases, S3 and publishing are those of the product. In place of the decoder and
the engine process, which use much of a processor, a photo takes the device for ``SECONDS``. So one
machine can run many workers.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from typing import cast

from shared.jobs.workers import ServedModel
from shared.settings import load_settings
from shared.telemetry import configure_logging
from worker.app import build, listen
from worker.decoder import memory_file
from worker.decoder.decoded_photo import DecodedPhoto, Header, write_header
from worker.decoder.decoder import Decoder
from worker.engine.stage_timer import OnProgress
from worker.engine_process.protocol import RestoreRequest
from worker.engine_process.result_file import ResultFile, ResultFileWriter
from worker.engine_process.supervisor import EngineSupervisor
from worker.jobs.activity import Activity
from worker.jobs.traces import JobTraces

MODEL = "simulated"
#: The variable with the seconds that a photo takes the device.
SECONDS = "SIMULATED_SECONDS"
_BYTES = 100_000  # of a result
_SHA256 = "0" * 64


def served_model() -> ServedModel:
    """Return what a simulated worker announces."""
    return ServedModel(MODEL, _SHA256, 512, "Apache-2.0", "fp32", "simulated", ms_per_face=None)


class SimulatedDecoder:
    """Reads no photo; every photo has one pixel."""

    def decode(self, data: bytes) -> DecodedPhoto:
        del data
        fd = memory_file.create("photo")
        write_header(fd, Header(width=1, height=1, format="jpeg"))
        return DecodedPhoto(fd)


class SimulatedEngine:
    """One device: one photo at a time."""

    def __init__(self, seconds: float) -> None:
        self.models = (served_model(),)
        self.lost = threading.Event()
        self._seconds, self._device = seconds, threading.Lock()

    def restore(
        self,
        request: RestoreRequest,
        photo: int,
        on_progress: OnProgress,
        check: Callable[[], None],
        *,
        alone: bool = False,
    ) -> ResultFile:
        del request, photo, alone
        on_progress("detecting", 0, None)
        with self._device:
            check()
            on_progress("restoring", 0, 1)
            time.sleep(self._seconds)
        writer = ResultFileWriter()
        writer.add("restored", os.urandom(_BYTES), "jpeg", 1, 1)
        writer.close(
            {
                "faces": [],
                "model": {"name": MODEL, "sha256": _SHA256},
                "background": None,
                "warnings": [],
                "timings_ms": {"restore": round(1000 * self._seconds)},
            }
        )
        return ResultFile(writer.fd)


def main() -> None:
    """Run jobs until SIGTERM."""
    settings = load_settings()
    configure_logging(settings, "worker")
    engine = cast("EngineSupervisor", SimulatedEngine(float(os.environ[SECONDS])))
    decoder = cast("Decoder", SimulatedDecoder())
    listen(build(settings, engine, decoder, JobTraces()), Activity("simulated"), settings)


if __name__ == "__main__":
    main()
