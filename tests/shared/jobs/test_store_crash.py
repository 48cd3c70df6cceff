"""Jobs in an engine that crashed: suspects, run alone, condemned the second time, or absolved."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from redis import Redis

from shared.errors import Poisoned, WorkerLost
from shared.jobs.job import MAX_STARTS, Release, Status
from shared.jobs.store import JobStore, NewJob
from tests.shared.conftest import BROKEN, DONE, claimed

NewJobs = Callable[..., NewJob]


def test_a_job_is_a_suspect_after_a_crash_and_not_before(store: JobStore, new_job: NewJobs) -> None:
    claim = claimed(store, new_job())
    assert not claim.suspect
    assert store.release(claim.job.id, claim.token, Release.CRASH) is Status.QUEUED
    again = store.claim(claim.job.id, "w")  # at once
    assert again
    assert again.suspect


@pytest.mark.parametrize("reason", [Release.LOST, Release.DRAIN, Release.TRANSIENT])
def test_nothing_else_makes_or_unmakes_a_suspect(
    store: JobStore, new_job: NewJobs, reason: Release
) -> None:
    claim = claimed(store, new_job())
    store.release(claim.job.id, claim.token, reason)
    for suspect in (False, True, True):
        again = store.claim(claim.job.id, "w")
        assert again
        assert again.suspect is suspect
        store.release(again.job.id, again.token, Release.CRASH if not suspect else reason)


def test_the_second_crash_is_the_last(store: JobStore, new_job: NewJobs) -> None:
    first = claimed(store, new_job())
    store.release(first.job.id, first.token, Release.CRASH)
    second = store.claim(first.job.id, "w")
    assert second
    assert store.release(second.job.id, second.token, Release.CRASH) is Status.FAILED
    assert store.get("acme", first.job.id).error == Poisoned().problem()


def test_who_ran_out_of_starts_is_not_called_poison(
    store: JobStore, new_job: NewJobs, redis: Redis
) -> None:
    claim = claimed(store, new_job())
    redis.hset(f"fm:job:{claim.job.id}", "starts", MAX_STARTS)
    assert store.release(claim.job.id, claim.token, Release.CRASH) is Status.FAILED
    assert store.get("acme", claim.job.id).error == WorkerLost().problem()


def test_a_crash_of_another_worker_s_job_is_fenced(store: JobStore, new_job: NewJobs) -> None:
    claim = claimed(store, new_job())
    assert store.release(claim.job.id, "x" * 32, Release.CRASH) is None
    assert store.get("acme", claim.job.id).status is Status.RUNNING


def test_absolved_jobs_are_as_before_the_crash(store: JobStore, new_job: NewJobs) -> None:
    """Whether they wait or run again by now; what nothing was held against stays as it is."""
    waiting, running = (claimed(store, new_job()) for _ in range(2))
    for claim in (waiting, running):
        store.release(claim.job.id, claim.token, Release.CRASH)
    assert store.claim(waiting.job.id, "w")  # the older one
    innocent = claimed(store, new_job(model="big"))
    ids = [claim.job.id for claim in (waiting, running, innocent)]
    assert store.absolve([*ids, "job_unknown"]) == 2
    assert store.absolve(ids) == 0
    again = store.claim(running.job.id, "w")
    assert again
    assert not again.suspect
    assert store.release(again.job.id, again.token, Release.CRASH) is Status.QUEUED


def test_a_worker_at_fault_costs_a_job_no_starts(store: JobStore, new_job: NewJobs) -> None:
    claim = claimed(store, new_job())
    for _ in range(MAX_STARTS + 1):
        assert store.release(claim.job.id, claim.token, Release.CRASH) is Status.QUEUED
        store.absolve([claim.job.id])
        claim = store.claim(claim.job.id, "w") or claim
    assert claim.job.attempt == MAX_STARTS + 2
    assert store.release(claim.job.id, claim.token, Release.LOST) is Status.QUEUED


@pytest.mark.parametrize("outcome", [DONE, BROKEN])
def test_an_end_is_not_taken_back(store: JobStore, new_job: NewJobs, outcome: object) -> None:
    first = claimed(store, new_job())
    store.release(first.job.id, first.token, Release.CRASH)
    second = store.claim(first.job.id, "w")
    assert second
    store.finish(second.job.id, second.token, outcome)
    before = store.get("acme", first.job.id)
    assert store.absolve([first.job.id]) == 0
    assert store.get("acme", first.job.id) == before


def test_absolving_nobody_is_no_error(store: JobStore) -> None:
    assert store.absolve([]) == 0
