"""A lease beats while the work goes on and says when to stop."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from shared.errors import Draining, JobCanceled, LeaseLost
from shared.jobs.job import Job, Progress, Stage
from shared.jobs.store import Claim, JobStore
from shared.settings import Settings
from worker.jobs.lease import Drain, Lease

Submit = Callable[..., Job]


@pytest.fixture
def impatient(settings: Settings) -> JobStore:
    """A store whose leases last 0.3 s."""
    return JobStore.connect(settings.model_copy(update={"lease_s": 0.3}))


def _claim(store: JobStore, job: Job) -> Claim:
    claim = store.claim(job.id, "worker-1")
    assert claim is not None
    return claim


def test_a_job_keeps_its_lease_for_longer_than_the_lease_lasts(
    impatient: JobStore, submit: Submit
) -> None:
    claim = _claim(impatient, submit())
    with Lease(impatient, claim, 0.05, Drain(1)) as lease:
        for _ in range(8):
            time.sleep(0.1)
            assert impatient.reap() == []
        lease.check()


def test_without_beats_the_job_is_taken_away_and_the_worker_told(
    impatient: JobStore, submit: Submit
) -> None:
    job = submit()
    claim = _claim(impatient, job)
    with Lease(impatient, claim, 60, Drain(1)) as lease:
        time.sleep(0.4)
        assert [job_id for job_id, _ in impatient.reap()] == [job.id]
        with pytest.raises(LeaseLost):
            lease.report(Progress(Stage.RESTORING, 1, 2))


def test_a_wish_to_cancel_is_heard_at_the_next_beat(store: JobStore, submit: Submit) -> None:
    job = submit()
    with Lease(store, _claim(store, job), 0.05, Drain(1)) as lease:
        store.cancel(job.tenant, job.id)
        time.sleep(0.3)
        with pytest.raises(JobCanceled):
            lease.check()


def test_progress_is_written_for_the_customer(store: JobStore, submit: Submit) -> None:
    job = submit()
    with Lease(store, _claim(store, job), 60, Drain(1)) as lease:
        lease.report(Progress(Stage.RESTORING, 2, 5))
        progress = store.get(job.tenant, job.id).progress
    assert progress == Progress(Stage.RESTORING, 2, 5)
    assert progress.percent == 48


def test_when_the_worker_is_stopped_the_job_is_given_back_only_after_the_grace_period(
    store: JobStore, submit: Submit
) -> None:
    drain = Drain(0.2)
    with Lease(store, _claim(store, submit()), 60, drain) as lease:
        drain.begin()
        lease.check()
        time.sleep(0.25)
        with pytest.raises(Draining):
            lease.check()


def test_a_redis_that_is_away_is_no_reason_to_stop(store: JobStore, submit: Submit) -> None:
    claim = _claim(store, submit())
    nowhere = JobStore.connect(
        Settings(redis_url="redis://127.0.0.1:1/0", redis_timeout_s=0.2)  # type: ignore[arg-type]
    )
    with Lease(nowhere, claim, 0.05, Drain(1)) as lease:
        time.sleep(0.2)
        lease.report(Progress(Stage.DETECTING))
