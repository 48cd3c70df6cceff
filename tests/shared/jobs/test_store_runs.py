"""A run: claimed once, fenced by its token, given back on separate budgets."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from redis import Redis

from shared.errors import WorkerLost
from shared.jobs.job import (
    MAX_STARTS,
    RELEASE_BUDGET,
    Progress,
    Release,
    Stage,
    Status,
    new_id,
)
from shared.jobs.store import Beat, JobStore, NewJob, Outcome
from tests.shared.conftest import BROKEN, DONE, at_once, claimed, redis_time

NewJobs = Callable[..., NewJob]
Stores = Callable[..., JobStore]


# --- claiming ------------------------------------------------------------------------------------


def test_of_sixteen_claims_one_wins(store: JobStore, new_job: NewJobs) -> None:
    new = new_job()
    store.create(new)
    claims = at_once(16, lambda number: store.claim(new.id, f"w-{number}"))
    winners = [claim for claim in claims if claim]
    assert len(winners) == 1
    assert winners[0].job.attempt == 1
    assert winners[0].job.status is Status.RUNNING
    assert store.get("acme", new.id).attempt == 1


def test_a_claim_of_nothing_is_refused(store: JobStore) -> None:
    assert store.claim(new_id("job"), "w") is None


@pytest.mark.parametrize("outcome", [DONE, BROKEN, Outcome(Status.CANCELED)])
def test_an_ended_job_is_not_claimed(store: JobStore, new_job: NewJobs, outcome: Outcome) -> None:
    claim = claimed(store, new_job())
    store.finish(claim.job.id, claim.token, outcome)
    assert store.claim(claim.job.id, "w-2") is None


def test_each_start_has_a_token_of_its_own(store: JobStore, new_job: NewJobs) -> None:
    first = claimed(store, new_job())
    store.release(first.job.id, first.token, Release.DRAIN)
    second = store.claim(first.job.id, "w-2")
    assert second is not None
    assert second.token != first.token
    assert second.job.attempt == 2


def test_a_job_waiting_for_its_next_try_is_not_claimed_before(
    store: JobStore, new_job: NewJobs
) -> None:
    claim = claimed(store, new_job())
    store.release(claim.job.id, claim.token, Release.TRANSIENT, delay_s=60)
    assert store.claim(claim.job.id, "w-2") is None
    assert store.get("acme", claim.job.id).status is Status.QUEUED
    assert store.due() == []


def test_a_job_past_its_start_deadline_fails_instead_of_starting(
    store: JobStore, new_job: NewJobs, redis: Redis
) -> None:
    new = new_job(start_before_s=1)
    store.create(new)
    redis.hset(f"fm:job:{new.id}", "deadline", redis_time(redis))
    assert store.claim(new.id, "w") is None
    job = store.get("acme", new.id)
    assert job.status is Status.FAILED
    assert job.error is not None
    assert job.error["code"] == "deadline-exceeded"
    assert len(store.deliveries("acme", new.id)) == 1


# --- running -------------------------------------------------------------------------------------


def test_progress_is_seen_and_grows_the_version(store: JobStore, new_job: NewJobs) -> None:
    claim = claimed(store, new_job())
    progress = Progress(Stage.RESTORING, 1, 4)
    assert store.progress(claim.job.id, claim.token, progress) is Beat.GO_ON
    job = store.get("acme", claim.job.id)
    assert job.progress == progress
    assert job.version == claim.job.version + 1


def test_a_beat_prolongs_the_lease_and_nothing_else(
    store: JobStore, new_job: NewJobs, redis: Redis
) -> None:
    claim = claimed(store, new_job())
    before = redis.zscore("fm:leases", claim.job.id)
    assert store.beat(claim.job.id, claim.token) is Beat.GO_ON
    assert redis.zscore("fm:leases", claim.job.id) > before
    assert store.get("acme", claim.job.id).version == claim.job.version


def test_a_finished_job_holds_its_outcome_and_its_expiry(
    store: JobStore, new_job: NewJobs, settings: Any
) -> None:
    claim = claimed(store, new_job())
    store.progress(claim.job.id, claim.token, Progress(Stage.PUBLISHING))
    assert store.finish(claim.job.id, claim.token, DONE)
    job = store.get("acme", claim.job.id)
    assert job.status is Status.SUCCEEDED
    assert (job.result, job.error) == (DONE.result, None)
    assert (job.warnings, job.timings_ms) == (DONE.warnings, DONE.timings_ms)
    assert job.progress is None
    assert job.finished_at is not None
    assert job.expires_at == pytest.approx(job.finished_at + settings.result_ttl_s, abs=1e-3)


def test_finishing_twice_makes_one_event(store: JobStore, new_job: NewJobs) -> None:
    claim = claimed(store, new_job())
    answers = at_once(8, lambda _: store.finish(claim.job.id, claim.token, DONE))
    assert answers == [True] * 8  # to a run whose first answer was lost it is still its own end
    assert len(store.deliveries("acme", claim.job.id)) == 1
    assert store.get("acme", claim.job.id).version == claim.job.version + 1


def test_an_ended_job_keeps_its_first_outcome(store: JobStore, new_job: NewJobs) -> None:
    claim = claimed(store, new_job())
    store.finish(claim.job.id, claim.token, DONE)
    store.finish(claim.job.id, claim.token, BROKEN)
    assert store.get("acme", claim.job.id).status is Status.SUCCEEDED


def test_a_zombie_changes_nothing(store: JobStore, new_job: NewJobs) -> None:
    zombie = claimed(store, new_job())
    job_id = zombie.job.id
    store.release(job_id, zombie.token, Release.LOST)
    owner = store.claim(job_id, "w-2")
    assert owner is not None
    before = store.get("acme", job_id)
    assert store.beat(job_id, zombie.token) is Beat.FENCED
    assert store.progress(job_id, zombie.token, Progress(Stage.PASTING)) is Beat.FENCED
    assert store.release(job_id, zombie.token, Release.TRANSIENT) is None
    assert store.finish(job_id, zombie.token, BROKEN) is False
    assert store.get("acme", job_id) == before
    assert store.finish(job_id, owner.token, DONE) is True
    after = store.get("acme", job_id)
    assert store.finish(job_id, zombie.token, BROKEN) is False
    assert store.get("acme", job_id) == after


def test_a_run_that_was_ended_by_others_is_told_so(
    store: JobStore, new_job: NewJobs, redis: Redis
) -> None:
    claim = claimed(store, new_job())
    redis.zadd("fm:deadlines", {claim.job.id: 0})
    assert store.reap() == [(claim.job.id, Status.FAILED)]
    assert store.beat(claim.job.id, claim.token) is Beat.FENCED
    assert store.finish(claim.job.id, claim.token, DONE) is False


# --- giving back ---------------------------------------------------------------------------------


@pytest.mark.parametrize("reason", [Release.TRANSIENT, Release.LOST])
def test_each_reason_has_its_own_budget(store: JobStore, new_job: NewJobs, reason: Release) -> None:
    claim = claimed(store, new_job())
    for _ in range(RELEASE_BUDGET[reason]):
        assert store.release(claim.job.id, claim.token, reason) is Status.QUEUED
        again = store.claim(claim.job.id, "w")
        assert again is not None
        claim = again
    assert store.release(claim.job.id, claim.token, reason) is Status.FAILED
    job = store.get("acme", claim.job.id)
    assert job.error == WorkerLost().problem()


def test_a_spent_budget_fails_with_the_error_given(store: JobStore, new_job: NewJobs) -> None:
    claim = claimed(store, new_job())
    problem = {"code": "input-timeout", "retryable": True}
    status: Status | None = Status.QUEUED
    while status is Status.QUEUED:
        status = store.release(claim.job.id, claim.token, Release.TRANSIENT, error=problem)
        claim = store.claim(claim.job.id, "w") or claim
    assert status is Status.FAILED
    assert store.get("acme", claim.job.id).error == problem


def test_starts_are_counted_over_all_reasons(store: JobStore, new_job: NewJobs) -> None:
    claim = claimed(store, new_job())
    reasons = [Release.LOST] * RELEASE_BUDGET[Release.LOST]
    reasons += [Release.TRANSIENT] * RELEASE_BUDGET[Release.TRANSIENT]
    for reason in reasons[: MAX_STARTS - 1]:
        assert store.release(claim.job.id, claim.token, reason) is Status.QUEUED
        claim = store.claim(claim.job.id, "w") or claim
    assert claim.job.attempt == len(reasons) + 1 <= MAX_STARTS


def test_a_drain_spends_no_start(store: JobStore, new_job: NewJobs) -> None:
    claim = claimed(store, new_job())
    for _ in range(RELEASE_BUDGET[Release.DRAIN]):
        assert store.release(claim.job.id, claim.token, Release.DRAIN) is Status.QUEUED
        claim = store.claim(claim.job.id, "w") or claim
    assert claim.job.attempt == RELEASE_BUDGET[Release.DRAIN] + 1 > MAX_STARTS
    assert store.release(claim.job.id, claim.token, Release.LOST) is Status.QUEUED


def test_the_last_start_is_the_last(store: JobStore, new_job: NewJobs, redis: Redis) -> None:
    claim = claimed(store, new_job())
    redis.hset(f"fm:job:{claim.job.id}", "starts", MAX_STARTS)
    assert store.release(claim.job.id, claim.token, Release.LOST) is Status.FAILED
