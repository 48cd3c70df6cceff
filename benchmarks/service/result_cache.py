"""A result from the cache, compared with a run of the same job, in one real worker."""

from __future__ import annotations

import io
import time
from pathlib import Path
from statistics import median

from PIL import Image

from benchmarks.faces import public_domain_photo
from benchmarks.report import Report
from benchmarks.service.servers import python_process, run_servers, to_environment, to_settings
from shared.contract.restorations import RestorationParameters
from shared.jobs.job import Job, Priority, Status, new_id
from shared.jobs.queues import QueueName
from shared.jobs.record import NewJob
from shared.jobs.store import JobStore
from shared.queue.celery_queue import Doorbell, make_celery
from shared.settings import Settings
from shared.storage.bucket import ObjectStorage
from shared.storage.keys import input_key

_TENANT, _KEY = "acme", "benchmark"
_END_S = 60.0
_LARGE_PX = 2000  # longer side


def measure_result_cache(report: Report, folder: Path, repetitions: int) -> None:
    """Submit each photo twice: the first job runs, the second one gets a copy of its result."""
    folder.mkdir()
    with run_servers(folder) as servers:
        settings = to_settings(servers)
        worker = folder / "worker"
        worker.mkdir()
        child = python_process(worker, ["worker.app"], to_environment(servers))
        child.start()
        try:
            child.wait_until(lambda: '"event": "ready' in child.log_tail(50), timeout_s=120)
            customer = _Customer(settings)
            customer.run(_photo(0, large=False))  # the first job also opens connections
            rows = [
                _compare(customer, name, repetitions, large=large)
                for name, large in (("512 px", False), (f"{_LARGE_PX} px", True))
            ]
        finally:
            child.stop(grace_s=30)
    report.section(
        "Result cache",
        f"A photo of one face, {settings.default_model}, one real worker. Times from the claim to "
        f"the end of the job, by the clock of Redis; median of {repetitions}.",
    )
    columns = ["photo", "the job runs, ms", "copy of the result, ms", "ratio"]
    report.table("result cache", columns, rows)


def _compare(customer: _Customer, name: str, repetitions: int, *, large: bool) -> list[str | float]:
    runs_ms, copies_ms = [], []
    for number in range(1, repetitions + 1):
        photo = _photo(number, large=large)
        runs_ms.append(_ms(customer.run(photo), cached=False))
        copies_ms.append(_ms(customer.run(photo), cached=True))
    return [name, median(runs_ms), median(copies_ms), median(runs_ms) / median(copies_ms)]


def _ms(job: Job, *, cached: bool) -> float:
    if job.status is not Status.SUCCEEDED or job.cached is not cached:
        raise SystemExit(f"the job is {job.status}, cached: {job.cached}, error: {job.error}")
    return 1000 * ((job.finished_at or 0.0) - (job.started_at or 0.0))


def _photo(number: int, *, large: bool) -> bytes:
    """Return a JPEG that differs from those of other numbers."""
    photo = Image.fromarray(public_domain_photo())
    if large:
        photo = photo.resize((_LARGE_PX, _LARGE_PX * photo.height // photo.width))
    file = io.BytesIO()
    photo.save(file, "JPEG", quality=90, comment=str(number).encode())
    return file.getvalue()


class _Customer:
    """Submits jobs as the API does, and waits for their ends."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._store, self._storage = JobStore.connect(settings), ObjectStorage(settings)
        self._doorbell = Doorbell(make_celery(settings, role="api"))

    def run(self, photo: bytes) -> Job:
        job_id, model = new_id("job"), self._settings.default_model
        stored = self._storage.put(input_key(_TENANT, job_id), photo, "image/jpeg")
        new = NewJob(
            id=job_id,
            tenant=_TENANT,
            key_id=_KEY,
            model=model,
            priority=Priority.NORMAL,
            request=RestorationParameters().model_dump(mode="json"),
            source={"key": stored.key, "etag": stored.etag},
        )
        self._store.create(new)
        self._doorbell.ring(job_id, QueueName(model, Priority.NORMAL))
        give_up = time.monotonic() + _END_S
        while not (job := self._store.get(_TENANT, job_id)).status.terminal:
            if time.monotonic() > give_up:
                raise SystemExit(f"the job is {job.status} after {_END_S:g} s")
            time.sleep(0.02)
        return job
