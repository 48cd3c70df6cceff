"""The job runner: how a job ends after its doorbell rings."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest
from prometheus_client import REGISTRY
from redis import Redis

from shared.errors import CorruptImage, OutOfMemory
from shared.jobs.job import Job, Release, Status
from shared.jobs.store import JobStore
from shared.storage.bucket import ObjectStorage
from worker.jobs.runner import JobRunner

if TYPE_CHECKING:
    from tests.worker.scripted import ScriptedRestorer

Submit = Callable[..., Job]


def test_a_ring_restores_the_photo(worker: JobRunner, submit: Submit, store: JobStore) -> None:
    job = submit()
    worker.restore(job.id)
    done = store.get(job.tenant, job.id)
    assert done.status is Status.SUCCEEDED
    assert done.result is not None
    assert [face["status"] for face in done.result["faces"]] == ["restored"]


def test_five_rings_at_once_run_a_job_once(
    worker: JobRunner, submit: Submit, restorer: ScriptedRestorer
) -> None:
    job = submit()
    threads = [threading.Thread(target=worker.restore, args=(job.id,)) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(restorer.photos) == 1


def test_a_ring_for_an_unknown_job_is_ignored(
    worker: JobRunner, restorer: ScriptedRestorer
) -> None:
    worker.restore("job_0")
    assert restorer.photos == []


def test_a_photo_that_cannot_be_read_fails_the_job_with_its_problem(
    worker: JobRunner, submit: Submit, store: JobStore, storage: ObjectStorage
) -> None:
    storage.put("tenants/acme/files/cut.png", b"\x89PNG\r\n\x1a\n", "image/png")
    job = submit(source={"key": "tenants/acme/files/cut.png"})
    worker.restore(job.id)
    failed = store.get(job.tenant, job.id)
    assert failed.status is Status.FAILED
    assert failed.error is not None
    assert failed.error["code"] == CorruptImage.code


def test_a_photo_replaced_after_acceptance_fails_as_changed(
    worker: JobRunner, submit: Submit, store: JobStore, storage: ObjectStorage
) -> None:
    job = submit()
    storage.put(job.source["key"], b"another", "image/png")
    worker.restore(job.id)
    error = store.get(job.tenant, job.id).error
    assert error is not None
    assert error["code"] == "input-changed"


def test_a_transient_error_requeues_the_job(
    worker: JobRunner, submit: Submit, store: JobStore, restorer: ScriptedRestorer
) -> None:
    def fail() -> None:
        raise OutOfMemory

    restorer.during = fail
    job = submit()
    worker.restore(job.id)
    assert store.get(job.tenant, job.id).status is Status.QUEUED


def test_an_unexpected_error_has_its_details_only_in_the_log(
    worker: JobRunner,
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
    worker: JobRunner, submit: Submit, store: JobStore, restorer: ScriptedRestorer
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
    worker: JobRunner, submit: Submit, store: JobStore, restorer: ScriptedRestorer, redis: Redis
) -> None:
    job = submit()

    def lose_it_to_another_worker() -> None:
        restorer.during = lambda: None
        token = redis.hget(f"fm:job:{job.id}", "token")
        store.runs.release(job.id, str(token), Release.LOST)
        worker.restore(job.id)

    restorer.during = lose_it_to_another_worker
    worker.restore(job.id)
    done = store.get(job.tenant, job.id)
    assert done.status is Status.SUCCEEDED
    assert done.attempt == 2
    assert len(restorer.photos) == 2


def test_the_ends_of_jobs_and_faces_are_counted(worker: JobRunner, submit: Submit) -> None:
    def counted(name: str, **labels: str) -> float:
        return REGISTRY.get_sample_value(name, labels) or 0.0

    ended = {"model": "scripted", "status": "succeeded", "code": ""}
    before = counted("facemend_jobs_ended_total", **ended)
    faces = counted("facemend_faces_total", model="scripted", status="restored")
    worker.restore(submit().id)
    assert counted("facemend_jobs_ended_total", **ended) == before + 1
    assert counted("facemend_faces_total", model="scripted", status="restored") == faces + 1


def test_a_draining_worker_starts_no_new_job(
    worker: JobRunner, submit: Submit, store: JobStore
) -> None:
    worker.drain.begin()
    job = submit()
    worker.restore(job.id)
    assert store.get(job.tenant, job.id).status is Status.QUEUED


def test_a_model_that_this_worker_does_not_serve_is_named(
    worker: JobRunner, submit: Submit, store: JobStore
) -> None:
    job = submit(model="gpen-bfr-9000")
    worker.restore(job.id)
    error = store.get(job.tenant, job.id).error
    assert error is not None
    assert error["code"] == "model-unavailable"
    assert "gpen-bfr-9000" in error["detail"]


def test_a_failed_job_has_the_times_of_the_stages_that_it_passed(
    worker: JobRunner, submit: Submit, store: JobStore, restorer: ScriptedRestorer
) -> None:
    def fail() -> None:
        raise CorruptImage

    restorer.during = fail
    job = submit()
    worker.restore(job.id)
    failed = store.get(job.tenant, job.id)
    assert failed.status is Status.FAILED
    assert failed.timings_ms.keys() == {"queue", "fetch", "total"}


def test_every_line_of_a_run_names_tenant_job_and_request(
    worker: JobRunner, submit: Submit, log_lines: Any
) -> None:
    job = submit(request_id="req_1")
    worker.restore(job.id)
    lines = log_lines()
    assert [line["event"] for line in lines] == ["job started", "job succeeded"]
    for line in lines:
        assert (line["job_id"], line["tenant"], line["request_id"]) == (job.id, job.tenant, "req_1")
