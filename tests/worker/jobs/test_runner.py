"""What becomes of a job when its bell rings."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest
from prometheus_client import REGISTRY
from redis import Redis

from shared.errors import CorruptImage, InputTimeout
from shared.jobs.job import Job, Release, Status
from shared.jobs.store import JobStore
from shared.storage.bucket import ObjectStorage
from worker.jobs.runner import Worker

if TYPE_CHECKING:
    from tests.worker.scripted import ScriptedRestorer

Submit = Callable[..., Job]


def test_a_ring_restores_the_photo(worker: Worker, submit: Submit, store: JobStore) -> None:
    job = submit()
    worker.restore(job.id)
    done = store.get(job.tenant, job.id)
    assert done.status is Status.SUCCEEDED
    assert done.result is not None
    assert [face["status"] for face in done.result["faces"]] == ["restored"]


def test_a_job_rung_five_times_at_once_runs_once(
    worker: Worker, submit: Submit, restorer: ScriptedRestorer
) -> None:
    job = submit()
    threads = [threading.Thread(target=worker.restore, args=(job.id,)) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(restorer.photos) == 1


def test_a_ring_for_an_unknown_job_is_dropped(worker: Worker, restorer: ScriptedRestorer) -> None:
    worker.restore("job_0")
    assert restorer.photos == []


def test_a_photo_that_cannot_be_read_fails_the_job_with_its_problem(
    worker: Worker, submit: Submit, store: JobStore, storage: ObjectStorage
) -> None:
    storage.put("tenants/acme/files/cut.png", b"\x89PNG\r\n\x1a\n", "image/png")
    job = submit(source={"key": "tenants/acme/files/cut.png"})
    worker.restore(job.id)
    failed = store.get(job.tenant, job.id)
    assert failed.status is Status.FAILED
    assert failed.error is not None
    assert failed.error["code"] == CorruptImage.code


def test_a_photo_replaced_after_acceptance_fails_as_changed(
    worker: Worker, submit: Submit, store: JobStore, storage: ObjectStorage
) -> None:
    job = submit()
    storage.put(job.source["key"], b"another", "image/png")
    worker.restore(job.id)
    error = store.get(job.tenant, job.id).error
    assert error is not None
    assert error["code"] == "input-changed"


def test_a_passing_error_sends_the_job_back_to_the_queue(
    worker: Worker, submit: Submit, store: JobStore, restorer: ScriptedRestorer
) -> None:
    def fail() -> None:
        raise InputTimeout

    restorer.during = fail
    job = submit()
    worker.restore(job.id)
    assert store.get(job.tenant, job.id).status is Status.QUEUED


def test_an_unforeseen_error_tells_the_customer_nothing_and_the_log_everything(
    worker: Worker,
    submit: Submit,
    store: JobStore,
    restorer: ScriptedRestorer,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def fail() -> None:
        raise ZeroDivisionError("the secret of the engine")

    restorer.during = fail
    job = submit()
    worker.restore(job.id)
    failed = store.get(job.tenant, job.id)
    assert failed.status is Status.FAILED
    assert failed.error is not None
    assert failed.error["code"] == "internal"
    assert "secret" not in str(failed.error)
    assert "the secret of the engine" in caplog.text


def test_cancelling_a_running_job_stops_it_at_the_next_stage(
    worker: Worker, submit: Submit, store: JobStore, restorer: ScriptedRestorer
) -> None:
    job = submit()

    def cancel() -> None:
        store.cancel(job.tenant, job.id)

    restorer.during = cancel
    worker.restore(job.id)
    canceled = store.get(job.tenant, job.id)
    assert canceled.status is Status.CANCELED
    assert canceled.result is None


def test_a_worker_that_lost_its_job_changes_nothing(
    worker: Worker, submit: Submit, store: JobStore, restorer: ScriptedRestorer, redis: Redis
) -> None:
    job = submit()

    def lose_it_to_another_worker() -> None:
        restorer.during = lambda: None
        token = redis.hget(f"fm:job:{job.id}", "token")
        store.release(job.id, str(token), Release.LOST)
        worker.restore(job.id)

    restorer.during = lose_it_to_another_worker
    worker.restore(job.id)
    done = store.get(job.tenant, job.id)
    assert done.status is Status.SUCCEEDED
    assert done.attempt == 2
    assert len(restorer.photos) == 2


def test_what_became_of_jobs_and_faces_is_counted(worker: Worker, submit: Submit) -> None:
    def counted(name: str, **labels: str) -> float:
        return REGISTRY.get_sample_value(name, labels) or 0.0

    ended = {"model": "scripted", "status": "succeeded", "code": ""}
    before = counted("facemend_jobs_ended_total", **ended)
    faces = counted("facemend_faces_total", model="scripted", status="restored")
    worker.restore(submit().id)
    assert counted("facemend_jobs_ended_total", **ended) == before + 1
    assert counted("facemend_faces_total", model="scripted", status="restored") == faces + 1


def test_a_draining_worker_takes_no_new_job(
    worker: Worker, submit: Submit, store: JobStore
) -> None:
    worker.drain.begin()
    job = submit()
    worker.restore(job.id)
    assert store.get(job.tenant, job.id).status is Status.QUEUED


def test_a_model_that_this_worker_does_not_serve_is_named(
    worker: Worker, submit: Submit, store: JobStore
) -> None:
    job = submit(model="gpen-bfr-9000")
    worker.restore(job.id)
    error = store.get(job.tenant, job.id).error
    assert error is not None
    assert error["code"] == "model-unavailable"
    assert "gpen-bfr-9000" in error["detail"]
