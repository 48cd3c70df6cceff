"""The share of time in which the device of a busy worker computes."""

from __future__ import annotations

import io
import time
from pathlib import Path

from PIL import Image

from benchmarks.report import Report
from benchmarks.service.servers import python_process, run_servers, to_environment, to_settings
from benchmarks.service.sleeping_worker import MODEL, SLEEP_S, TIMES
from shared.jobs.job import Priority, new_id
from shared.jobs.queues import QueueName
from shared.jobs.record import NewJob
from shared.jobs.store import JobStore
from shared.queue.celery_queue import Doorbell, make_celery
from shared.settings import Settings
from shared.storage.bucket import ObjectStorage
from shared.storage.keys import input_key

_MIN_SHARE = 0.95
_JOBS = 80
_PHOTO_PX = (640, 480)


def measure_device_utilization(report: Report, folder: Path) -> None:
    """Run photos through a whole worker: claim, fetch, decode, a model that sleeps, publish."""
    with run_servers(folder) as servers:
        models_dir = folder / "models"
        models_dir.mkdir()
        models = {"models_dir": str(models_dir), "served_models": MODEL, "default_model": MODEL}
        values = servers | models | {"result_cache": "false"}  # the photos are equal
        settings = to_settings(values)
        _submit(settings)
        worker = folder / "worker"
        worker.mkdir()
        module = ["benchmarks.service.sleeping_worker"]
        child = python_process(worker, module, to_environment(values))
        child.start()
        try:
            times = models_dir / TIMES
            child.wait_until(lambda: _done(times) == _JOBS, timeout_s=60 + 3 * _JOBS * SLEEP_S)
        finally:
            child.stop(grace_s=30)
        spans = [tuple(map(float, line.split())) for line in times.read_text().splitlines()]
    work_s = sum(end - start for start, end in spans)
    share = work_s / (max(end for _, end in spans) - min(start for start, _ in spans))
    report.section(
        "Device utilization",
        f"{_JOBS} photos of {_PHOTO_PX[0]} x {_PHOTO_PX[1]} px, a model that sleeps {SLEEP_S:g} s "
        f"for each photo, {settings.jobs_in_flight} jobs in flight.",
    )
    report.require("share of the time in which the device computes", share, ">=", _MIN_SHARE)


def _submit(settings: Settings) -> None:
    store, storage = JobStore.connect(settings), ObjectStorage(settings)
    doorbell = Doorbell(make_celery(settings, role="api"))
    file = io.BytesIO()
    Image.linear_gradient("L").resize(_PHOTO_PX).convert("RGB").save(file, "JPEG")
    for _ in range(_JOBS):
        job_id = new_id("job")
        stored = storage.put(input_key("acme", job_id), file.getvalue(), "image/jpeg")
        store.create(
            NewJob(
                id=job_id,
                tenant="acme",
                key_id="key_1",
                model=MODEL,
                priority=Priority.NORMAL,
                request={
                    "options": {},
                    "output": {
                        "format": "same",
                        "quality": 95,
                        "face_crops": False,
                        "comparison": False,
                        "key": None,
                    },
                },
                source={"key": stored.key, "etag": stored.etag},
            )
        )
        doorbell.ring(job_id, QueueName(MODEL, Priority.NORMAL))


def _done(times: Path) -> int:
    time.sleep(0.2)
    return len(times.read_text().splitlines()) if times.exists() else 0
