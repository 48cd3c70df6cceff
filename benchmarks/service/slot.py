"""How much of the time the device of a busy worker works."""

from __future__ import annotations

import io
import os
import secrets
import sys
import time
from pathlib import Path

from PIL import Image

from benchmarks.report import Report
from benchmarks.service.sleeper import MODEL, SLEEP_S, TIMES
from deploy.embedded.child_process import Child
from deploy.embedded.seaweedfs import SeaweedFS
from deploy.embedded.valkey import Valkey
from shared.jobs.job import Priority, new_id
from shared.jobs.store import JobStore, NewJob
from shared.queue.celery_queue import Doorbell, make_celery
from shared.settings import Settings
from shared.storage.bucket import ObjectStorage
from shared.storage.keys import input_key

_ROOT = Path(__file__).parents[2]
_MIN_SHARE = 0.95
_JOBS = 80
_PHOTO_PX = (640, 480)


def measure_slot(report: Report, folder: Path) -> None:
    """Photos through a whole worker: claim, fetch, decode, a model that sleeps, encode, publish."""
    with Valkey(folder / "redis") as valkey, SeaweedFS(folder / "s3") as seaweed:
        models_dir = folder / "models"
        models_dir.mkdir()
        values = {
            "redis_url": valkey.url,
            "s3_endpoint_url": seaweed.endpoint_url,
            "s3_bucket": seaweed.bucket,
            "s3_access_key_id": seaweed.access_key_id,
            "s3_secret_access_key": seaweed.secret_access_key,
            "api_key_pepper": secrets.token_urlsafe(24),
            "models_dir": str(models_dir),
            "served_models": MODEL,
            "default_model": MODEL,
        }
        settings = Settings(_env_file=None, **values)  # type: ignore[arg-type] # pydantic converts
        _submit(settings)
        env = {f"FACEMEND_{name.upper()}": value for name, value in values.items()}
        env = {**os.environ, "PYTHONPATH": str(_ROOT), **env}
        argv = [sys.executable, "-m", "benchmarks.service.sleeper"]
        child = Child("worker", argv, folder=folder, env=env, cwd=folder)
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
        "The slot",
        f"{_JOBS} photos of {_PHOTO_PX[0]} x {_PHOTO_PX[1]} px, a model that sleeps {SLEEP_S:g} s "
        f"for each, {settings.jobs_in_flight} jobs in flight.",
    )
    report.bar("share of the time in which the device works", share, ">=", _MIN_SHARE)


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
        doorbell.ring(job_id, MODEL, Priority.NORMAL)


def _done(times: Path) -> int:
    time.sleep(0.2)
    return len(times.read_text().splitlines()) if times.exists() else 0
