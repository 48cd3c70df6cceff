"""How jobs end: canceled, expired, erased."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from redis import Redis

from shared.errors import Conflict, NotFound
from shared.jobs.job import (
    TERMINAL_EVENT,
    Progress,
    Release,
    Stage,
    Status,
)
from shared.jobs.record import NewJob, Outcome
from shared.jobs.runs import Beat, Claim
from shared.jobs.store import JobStore
from shared.webhooks.outbox import Outbox
from tests.shared.conftest import BROKEN, DONE, at_once, claimed, redis_time

NewJobs = Callable[..., NewJob]


# --- cancel --------------------------------------------------------------------------------------


def test_a_queued_job_is_canceled_at_once(
    store: JobStore, outbox: Outbox, new_job: NewJobs
) -> None:
    new = new_job()
    store.create(new)
    assert store.cancel("acme", new.id).status is Status.CANCELED
    assert store.runs.claim(new.id, "w") is None
    assert [entry["event"] for entry in outbox.of_job("acme", new.id)] == [
        TERMINAL_EVENT[Status.CANCELED]
    ]


def test_a_running_job_is_asked_to_stop_once(store: JobStore, new_job: NewJobs) -> None:
    claim = claimed(store, new_job())
    asked = store.cancel("acme", claim.job.id)
    assert asked.status is Status.RUNNING
    assert asked.cancel_requested
    assert store.cancel("acme", claim.job.id).version == asked.version
    assert store.runs.beat(claim.job.id, claim.token) is Beat.CANCEL
    assert store.runs.progress(claim.job.id, claim.token, Progress(Stage.PASTING)) is Beat.CANCEL


def test_an_accepted_cancel_has_precedence_over_the_result(
    store: JobStore, new_job: NewJobs
) -> None:
    claim = claimed(store, new_job())
    store.cancel("acme", claim.job.id)
    assert store.runs.finish(claim.job.id, claim.token, DONE)
    job = store.get("acme", claim.job.id)
    assert (job.status, job.result) == (Status.CANCELED, None)


@pytest.mark.parametrize("way", ["release", "reap"])
def test_a_canceled_run_does_not_start_again(
    store: JobStore, new_job: NewJobs, redis: Redis, way: str
) -> None:
    claim = claimed(store, new_job())
    store.cancel("acme", claim.job.id)
    if way == "release":
        assert store.runs.release(claim.job.id, claim.token, Release.DRAIN) is Status.CANCELED
    else:
        redis.zadd("fm:leases", {claim.job.id: 0})
        assert store.runs.reap() == [(claim.job.id, Status.CANCELED)]
    assert store.get("acme", claim.job.id).status is Status.CANCELED


def test_a_cancel_has_precedence_over_a_deadline(
    store: JobStore, new_job: NewJobs, redis: Redis
) -> None:
    claim = claimed(store, new_job())
    store.cancel("acme", claim.job.id)
    redis.zadd("fm:deadlines", {claim.job.id: 0})
    assert store.runs.reap() == [(claim.job.id, Status.CANCELED)]
    assert store.get("acme", claim.job.id).error is None


def test_an_ended_job_is_not_canceled(store: JobStore, new_job: NewJobs) -> None:
    claim = claimed(store, new_job())
    store.runs.finish(claim.job.id, claim.token, DONE)
    with pytest.raises(Conflict):
        store.cancel("acme", claim.job.id)


def test_a_job_of_another_tenant_cannot_be_canceled(store: JobStore, new_job: NewJobs) -> None:
    claim = claimed(store, new_job())
    with pytest.raises(NotFound):
        store.cancel("other", claim.job.id)
    assert store.runs.beat(claim.job.id, claim.token) is Beat.GO_ON


def test_cancel_and_finish_at_once_agree_on_one_end(
    store: JobStore, outbox: Outbox, new_job: NewJobs
) -> None:
    for _ in range(20):
        claim = claimed(store, new_job())

        def race(number: int, claim: Claim = claim) -> bool:
            if number:
                return store.runs.finish(claim.job.id, claim.token, DONE)
            try:
                store.cancel("acme", claim.job.id)
            except Conflict:
                return False
            return True

        accepted, finished = at_once(2, race)
        job = store.get("acme", claim.job.id)
        assert finished
        assert job.status is (Status.CANCELED if accepted else Status.SUCCEEDED)
        assert [entry["event"] for entry in outbox.of_job("acme", job.id)] == [
            TERMINAL_EVENT[job.status]
        ]


# --- the end -------------------------------------------------------------------------------------


def test_an_ended_job_expires_when_its_time_is_over(
    store: JobStore, new_job: NewJobs, redis: Redis
) -> None:
    claim = claimed(store, new_job())
    store.runs.finish(claim.job.id, claim.token, DONE)
    assert store.claim_expired(10) == []
    redis.zadd("fm:expiry", {claim.job.id: redis_time(redis)})
    assert store.claim_expired(10) == [store.get("acme", claim.job.id)]


@pytest.mark.parametrize("state", ["queued", "running", "ended"])
def test_an_erased_job_leaves_only_a_tombstone(
    store: JobStore, new_job: NewJobs, redis: Redis, state: str
) -> None:
    new = new_job()
    store.create(new)
    token = ""
    if state != "queued":
        claim = store.runs.claim(new.id, "w")
        assert claim is not None
        token = claim.token
    if state == "ended":
        store.runs.finish(new.id, token, DONE)
    assert store.erase("other", new.id) is None
    was = {"queued": Status.QUEUED, "running": Status.RUNNING, "ended": Status.SUCCEEDED}
    assert store.erase("acme", new.id) is was[state]
    assert store.erase("acme", new.id) is None
    left = {*redis.keys("*")} - {"fm:queues", "fm:usage:key_1", "fm:work:starter"}
    assert left == {f"fm:gone:{new.id}"}
    assert 0 < redis.ttl(f"fm:gone:{new.id}") <= 86_400


def test_no_late_call_restores_an_erased_job(store: JobStore, new_job: NewJobs) -> None:
    claim = claimed(store, new := new_job())
    store.erase("acme", new.id)
    assert store.runs.beat(new.id, claim.token) is Beat.FENCED
    assert store.runs.progress(new.id, claim.token, Progress(Stage.PASTING)) is Beat.FENCED
    assert store.runs.release(new.id, claim.token, Release.TRANSIENT) is None
    assert store.runs.finish(new.id, claim.token, DONE) is False
    assert store.runs.claim(new.id, "w") is None
    assert not store.erase("acme", new.id)
    with pytest.raises(Conflict):
        store.create(new)
    with pytest.raises(NotFound):
        store.get("acme", new.id)


# --- timings and progress ----------------------------------------------------------------------


@pytest.mark.parametrize("canceled", [False, True])
def test_a_run_that_ends_without_a_result_keeps_its_timings_and_progress(
    store: JobStore, new_job: NewJobs, canceled: bool
) -> None:
    claim = claimed(store, new := new_job())
    store.runs.progress(new.id, claim.token, Progress(Stage.RESTORING, 1, 3))
    if canceled:
        store.cancel("acme", new.id)
    error = {"code": "out-of-memory"}
    timings_ms = {"queue": 1, "fetch": 20, "total": 21}
    store.runs.finish(
        new.id, claim.token, Outcome(Status.FAILED, error=error, timings_ms=timings_ms)
    )
    job = store.get("acme", new.id)
    assert job.status is (Status.CANCELED if canceled else Status.FAILED)
    assert job.timings_ms == timings_ms
    assert job.progress == Progress(Stage.RESTORING, 1, 3)


def test_a_job_that_ends_in_redis_has_the_times_that_its_record_shows(
    store: JobStore, new_job: NewJobs, redis: Redis
) -> None:
    waiting = store.create(new_job())
    claim = claimed(store, running := new_job(model="big"))
    redis.hset(f"fm:job:{waiting.id}", "created_at", waiting.created_at - 2)
    redis.hset(f"fm:job:{running.id}", "started_at", claim.job.created_at + 3)
    canceled = store.cancel("acme", waiting.id)
    redis.zadd("fm:deadlines", {running.id: 0})
    store.runs.reap()
    late = store.get("acme", running.id)
    assert canceled.timings_ms["queue"] == canceled.timings_ms["total"] >= 2000
    assert late.timings_ms["queue"] == 3000
    assert late.timings_ms["total"] < 3000  # it ended now; the test put the start into the future


def test_a_retried_job_starts_without_progress_and_timings(
    store: JobStore, new_job: NewJobs
) -> None:
    claim = claimed(store, new := new_job())
    store.runs.progress(new.id, claim.token, Progress(Stage.RESTORING, 1, 3))
    store.runs.finish(new.id, claim.token, BROKEN)
    job = store.retry("acme", new.id)
    assert (job.progress, job.timings_ms) == (None, {})
