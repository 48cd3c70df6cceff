"""The lease is renewed while its job runs, and says when to stop the job."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from shared.errors import Draining, JobCanceled, LeaseLost, Unavailable
from shared.jobs.job import Job, Progress, Stage
from shared.jobs.runs import Beat, Claim
from shared.jobs.store import JobStore
from shared.settings import Settings
from shared.telemetry import bind
from worker.jobs.lease import Drain, Lease

Submit = Callable[..., Job]


@pytest.fixture
def impatient(settings: Settings) -> JobStore:
    """A store whose leases last 0.3 s."""
    return JobStore.connect(settings.model_copy(update={"lease_s": 0.3}))


def _claim(store: JobStore, job: Job) -> Claim:
    claim = store.runs.claim(job.id, "worker-1")
    assert claim is not None
    return claim


def test_a_running_job_keeps_its_lease_beyond_the_first_expiry(
    impatient: JobStore, submit: Submit
) -> None:
    claim = _claim(impatient, submit())
    with Lease(impatient, claim, 0.05, Drain(1)) as lease:
        for _ in range(8):
            time.sleep(0.1)
            assert impatient.runs.reap() == []
        lease.check()


def test_without_beats_the_job_is_requeued_and_the_lease_raises(
    impatient: JobStore, submit: Submit
) -> None:
    job = submit()
    claim = _claim(impatient, job)
    with Lease(impatient, claim, 60, Drain(1)) as lease:
        time.sleep(0.4)
        assert [job_id for job_id, _ in impatient.runs.reap()] == [job.id]
        with pytest.raises(LeaseLost):
            lease.report(Progress(Stage.RESTORING, 1, 2))


def test_a_cancel_request_stops_the_job_at_the_next_beat(store: JobStore, submit: Submit) -> None:
    job = submit()
    with Lease(store, _claim(store, job), 0.05, Drain(1)) as lease:
        store.cancel(job.tenant, job.id)
        time.sleep(0.3)
        with pytest.raises(JobCanceled):
            lease.check()


def test_progress_is_stored_for_the_customer(store: JobStore, submit: Submit) -> None:
    job = submit()
    with Lease(store, _claim(store, job), 60, Drain(1)) as lease:
        lease.report(Progress(Stage.RESTORING, 2, 5))
        progress = store.get(job.tenant, job.id).progress
    assert progress == Progress(Stage.RESTORING, 2, 5)
    assert progress.percent == 48


def test_a_draining_worker_stops_the_job_only_after_the_grace_period(
    store: JobStore, submit: Submit
) -> None:
    drain = Drain(0.2)
    with Lease(store, _claim(store, submit()), 60, drain) as lease:
        drain.begin()
        lease.check()
        time.sleep(0.25)
        with pytest.raises(Draining):
            lease.check()


def test_the_job_continues_while_redis_is_away(store: JobStore, submit: Submit) -> None:
    claim = _claim(store, submit())
    nowhere = JobStore.connect(
        Settings(redis_url="redis://127.0.0.1:1/0", redis_timeout_s=0.2)  # type: ignore[arg-type]
    )
    with Lease(nowhere, claim, 0.05, Drain(1)) as lease:
        time.sleep(0.2)
        lease.report(Progress(Stage.DETECTING))


def test_the_lines_of_the_renewing_thread_name_the_job(
    store: JobStore, submit: Submit, log_lines: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried = threading.Event()

    def beat(*_: object) -> Beat:
        if log_lines():
            tried.set()
        raise Unavailable("Redis is away")

    monkeypatch.setattr(store.runs, "beat", beat)
    job = submit()
    with bind(**job.log_fields), Lease(store, _claim(store, job), 0.001, Drain(1)):
        assert tried.wait(10)
    line = log_lines()[0]
    assert (line["event"], line["job_id"]) == ("lease not renewed: Redis is away", job.id)
