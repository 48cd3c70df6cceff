"""Jobs in an engine process that crashed: suspects, poisoned after two crashes, or refunded."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from redis import Redis

from shared.errors import Poisoned, WorkerLost
from shared.jobs.job import MAX_STARTS, Release, Status
from shared.jobs.record import NewJob
from shared.jobs.store import JobStore
from tests.shared.conftest import BROKEN, DONE, claimed

NewJobs = Callable[..., NewJob]


def test_a_job_is_a_suspect_after_a_crash_and_not_before(store: JobStore, new_job: NewJobs) -> None:
    claim = claimed(store, new_job())
    assert not claim.suspect
    assert store.runs.release(claim.job.id, claim.token, Release.CRASH) is Status.QUEUED
    again = store.runs.claim(claim.job.id, "w")  # at once
    assert again
    assert again.suspect


@pytest.mark.parametrize("reason", [Release.LOST, Release.DRAIN, Release.TRANSIENT])
def test_only_a_crash_makes_a_suspect(store: JobStore, new_job: NewJobs, reason: Release) -> None:
    claim = claimed(store, new_job())
    store.runs.release(claim.job.id, claim.token, reason)
    for suspect in (False, True, True):
        again = store.runs.claim(claim.job.id, "w")
        assert again
        assert again.suspect is suspect
        store.runs.release(again.job.id, again.token, Release.CRASH if not suspect else reason)


def test_after_the_second_crash_the_job_fails(store: JobStore, new_job: NewJobs) -> None:
    first = claimed(store, new_job())
    store.runs.release(first.job.id, first.token, Release.CRASH)
    second = store.runs.claim(first.job.id, "w")
    assert second
    assert store.runs.release(second.job.id, second.token, Release.CRASH) is Status.FAILED
    assert store.get("acme", first.job.id).error == Poisoned().problem()


def test_a_job_without_starts_left_is_not_called_poisoned(
    store: JobStore, new_job: NewJobs, redis: Redis
) -> None:
    claim = claimed(store, new_job())
    redis.hset(f"fm:job:{claim.job.id}", "starts", MAX_STARTS)
    assert store.runs.release(claim.job.id, claim.token, Release.CRASH) is Status.FAILED
    assert store.get("acme", claim.job.id).error == WorkerLost().problem()


def test_a_crash_of_another_worker_s_job_is_fenced(store: JobStore, new_job: NewJobs) -> None:
    claim = claimed(store, new_job())
    assert store.runs.release(claim.job.id, "x" * 32, Release.CRASH) is None
    assert store.get("acme", claim.job.id).status is Status.RUNNING


def test_refunded_jobs_are_as_before_the_crash(store: JobStore, new_job: NewJobs) -> None:
    """This holds for jobs that wait or run again; other jobs do not change."""
    waiting, running = (claimed(store, new_job()) for _ in range(2))
    for claim in (waiting, running):
        store.runs.release(claim.job.id, claim.token, Release.CRASH)
    assert store.runs.claim(waiting.job.id, "w")  # the older one
    innocent = claimed(store, new_job(model="big"))
    ids = [claim.job.id for claim in (waiting, running, innocent)]
    assert store.runs.refund([*ids, "job_unknown"]) == 2
    assert store.runs.refund(ids) == 0
    again = store.runs.claim(running.job.id, "w")
    assert again
    assert not again.suspect
    assert store.runs.release(again.job.id, again.token, Release.CRASH) is Status.QUEUED


def test_a_worker_at_fault_costs_a_job_no_starts(store: JobStore, new_job: NewJobs) -> None:
    claim = claimed(store, new_job())
    for _ in range(MAX_STARTS + 1):
        assert store.runs.release(claim.job.id, claim.token, Release.CRASH) is Status.QUEUED
        store.runs.refund([claim.job.id])
        claim = store.runs.claim(claim.job.id, "w") or claim
    assert claim.job.attempt == MAX_STARTS + 2
    assert store.runs.release(claim.job.id, claim.token, Release.LOST) is Status.QUEUED


@pytest.mark.parametrize("outcome", [DONE, BROKEN])
def test_a_job_that_has_ended_gets_no_refund(
    store: JobStore, new_job: NewJobs, outcome: object
) -> None:
    first = claimed(store, new_job())
    store.runs.release(first.job.id, first.token, Release.CRASH)
    second = store.runs.claim(first.job.id, "w")
    assert second
    store.runs.finish(second.job.id, second.token, outcome)
    before = store.get("acme", first.job.id)
    assert store.runs.refund([first.job.id]) == 0
    assert store.get("acme", first.job.id) == before


def test_a_refund_of_no_jobs_is_no_error(store: JobStore) -> None:
    assert store.runs.refund([]) == 0
