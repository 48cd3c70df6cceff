"""What happens as time passes: leases end, deadlines come, doorbells ring again."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from redis import Redis

from shared.errors import DeadlineExceeded, WorkerLost
from shared.jobs.job import (
    RELEASE_BUDGET,
    Priority,
    Release,
    Status,
)
from shared.jobs.queues import QueueName
from shared.jobs.record import NewJob
from shared.jobs.runs import MAX_DOORBELLS, Beat, DueJob
from shared.jobs.store import JobStore
from tests.shared.conftest import at_once, claimed, redis_time, wait_until

NewJobs = Callable[..., NewJob]
Stores = Callable[..., JobStore]


# --- the reaper ----------------------------------------------------------------------------------


def test_a_job_is_reaped_when_its_lease_is_over_and_not_before(
    store_with: Stores, new_job: NewJobs, redis: Redis
) -> None:
    store = store_with(lease_s=0.2)
    claim = claimed(store, new_job())
    ends = redis.zscore("fm:leases", claim.job.id)
    assert ends == pytest.approx(claim.job.started_at + 0.2, abs=1e-5)
    assert store.runs.reap() == []
    wait_until(redis, ends)
    assert store.runs.reap() == [(claim.job.id, Status.QUEUED)]
    assert store.runs.reap() == []
    assert store.runs.beat(claim.job.id, claim.token) is Beat.FENCED
    assert [job.id for job in store.runs.due()] == [claim.job.id]


def test_two_reapers_requeue_a_job_once(store: JobStore, new_job: NewJobs, redis: Redis) -> None:
    claims = [claimed(store, new_job()) for _ in range(20)]
    redis.zadd("fm:leases", {claim.job.id: 0 for claim in claims})
    reaped = [job_id for part in at_once(4, lambda _: store.runs.reap()) for job_id, _ in part]
    assert sorted(reaped) == sorted(claim.job.id for claim in claims)


def test_a_job_whose_workers_die_again_and_again_fails(
    store: JobStore, new_job: NewJobs, redis: Redis
) -> None:
    new = new_job()
    store.create(new)
    ends: list[Status] = []
    while Status.FAILED not in ends:
        assert store.runs.claim(new.id, "w") is not None
        redis.zadd("fm:leases", {new.id: 0})
        ends += [status for _, status in store.runs.reap()]
    assert len(ends) == RELEASE_BUDGET[Release.LOST] + 1
    assert store.get("acme", new.id).error == WorkerLost().problem()


def test_a_job_past_its_deadline_fails_whether_it_waits_or_runs(
    store_with: Stores, new_job: NewJobs, redis: Redis
) -> None:
    store = store_with(job_deadline_s=0.05)
    waiting, running = new_job(), new_job()
    store.create(waiting)
    claimed(store, running)
    wait_until(redis, redis_time(redis) + 0.05)
    assert sorted(store.runs.reap()) == sorted(
        [(waiting.id, Status.FAILED), (running.id, Status.FAILED)]
    )
    for new in (waiting, running):
        job = store.get("acme", new.id)
        assert job.error is not None
        assert job.error["code"] == "deadline-exceeded"
    assert store.counts()["queued"] == store.counts()["running"] == 0


def test_a_job_that_was_not_started_in_time_fails_while_it_waits(
    store: JobStore, new_job: NewJobs, redis: Redis
) -> None:
    job = store.create(new_job(start_before_s=5))
    deadline = redis.zscore("fm:deadlines", job.id)
    assert deadline == pytest.approx(job.created_at + 5, abs=1e-3)
    redis.zadd("fm:deadlines", {job.id: redis_time(redis)})
    assert store.runs.reap() == [(job.id, Status.FAILED)]
    assert "never started" in (store.get("acme", job.id).error or {})["detail"]


def test_a_job_that_is_too_late_at_its_claim_says_that_it_never_started(
    store: JobStore, new_job: NewJobs, redis: Redis
) -> None:
    job = store.create(new_job(start_before_s=5))
    redis.hset(f"fm:job:{job.id}", "deadline", redis_time(redis))
    assert store.runs.claim(job.id, "w") is None
    error = store.get("acme", job.id).error or {}
    assert (error["code"], "never started" in error["detail"]) == ("deadline-exceeded", True)


def test_a_job_that_ran_before_its_deadline_was_not_finished_in_time(
    store: JobStore, new_job: NewJobs, redis: Redis
) -> None:
    claim = claimed(store, new := new_job(start_before_s=5))
    store.runs.release(new.id, claim.token, Release.DRAIN)
    redis.zadd("fm:deadlines", {new.id: redis_time(redis)})
    store.runs.reap()
    assert store.get("acme", new.id).error == DeadlineExceeded().problem()


def test_a_started_job_has_met_its_start_deadline(
    store: JobStore, new_job: NewJobs, redis: Redis, settings: Any
) -> None:
    claim = claimed(store, new_job(start_before_s=5))
    deadline = redis.zscore("fm:deadlines", claim.job.id)
    assert deadline == pytest.approx(claim.job.created_at + settings.job_deadline_s, abs=1e-3)


def test_an_index_entry_without_a_record_does_not_block_other_jobs(
    store: JobStore, new_job: NewJobs, redis: Redis
) -> None:
    claim = claimed(store, new_job())
    for index in ("leases", "deadlines", "expiry", "due:normal:starter"):
        redis.zadd(f"fm:{index}", {"job_gone": 0})
    redis.zadd("fm:leases", {claim.job.id: 1})
    assert store.runs.reap(limit=5) == [(claim.job.id, Status.QUEUED)]
    assert store.claim_expired(5) == []
    assert [job.id for job in store.runs.due(5)] == [claim.job.id]


# --- the dispatcher ------------------------------------------------------------------------------


def test_a_job_rings_again_until_it_is_claimed(
    store: JobStore, new_job: NewJobs, redis: Redis
) -> None:
    new = new_job()
    store.create(new)
    assert store.runs.due() == []  # who created it rings first
    for _ in range(2):
        redis.zadd("fm:due:normal:starter", {new.id: 0})
        assert store.runs.due() == [DueJob(new.id, QueueName("starter", Priority.NORMAL))]
        assert store.runs.due() == []
    store.runs.claim(new.id, "w")
    redis.zadd("fm:due:normal:starter", {new.id: 0}, xx=True)
    assert store.runs.due() == []


def test_two_dispatchers_ring_a_job_once(store: JobStore, new_job: NewJobs, redis: Redis) -> None:
    jobs = [new_job() for _ in range(20)]
    for new in jobs:
        store.create(new)
    redis.zadd("fm:due:normal:starter", {new.id: 0 for new in jobs})
    ringing = [job.id for part in at_once(4, lambda _: store.runs.due()) for job in part]
    assert sorted(ringing) == sorted(new.id for new in jobs)


def test_doorbells_ring_by_priority(store: JobStore, new_job: NewJobs, redis: Redis) -> None:
    for priority in (Priority.LOW, Priority.NORMAL, Priority.HIGH):
        store.create(new := new_job(priority=priority))
        redis.zadd(f"fm:due:{priority}:starter", {new.id: 0})
    assert [job.queue.priority for job in store.runs.due(2)] == [Priority.HIGH, Priority.NORMAL]
    assert [job.queue.priority for job in store.runs.due(2)] == [Priority.LOW]


def test_a_queue_full_of_doorbells_gets_no_more_and_keeps_others_ringing(
    store: JobStore, new_job: NewJobs, redis: Redis
) -> None:
    jobs = [new_job(priority=Priority.HIGH) for _ in range(3)]
    for new in (*jobs, other := new_job(model="big")):
        store.create(new)
    redis.zadd("fm:due:high:starter", {new.id: 0 for new in jobs})
    redis.zadd("fm:due:normal:big", {other.id: 0})
    queue_name = QueueName("starter", Priority.HIGH).doorbells
    redis.rpush(queue_name, "doorbell", "doorbell", "doorbell")  # of whichever job: each starts one
    assert [job.id for job in store.runs.due()] == [other.id]
    redis.lpop(queue_name)
    assert len(store.runs.due()) == 1


def test_the_number_of_doorbells_in_a_queue_is_bounded(
    store: JobStore, new_job: NewJobs, redis: Redis
) -> None:
    job = store.create(new_job())
    flood = {f"job_{number}": 9e9 for number in range(MAX_DOORBELLS)}
    redis.zadd("fm:due:normal:starter", flood | {job.id: 0})
    queue_name = QueueName("starter", Priority.NORMAL).doorbells
    redis.rpush(queue_name, *["doorbell"] * MAX_DOORBELLS)
    store.create(new_job(), "another")
    assert redis.llen(queue_name) == MAX_DOORBELLS
    assert store.runs.due() == []
    redis.lpop(queue_name)
    assert [due.id for due in store.runs.due()] == [job.id]
    store.create(new_job(), "another")
    assert redis.lrange(queue_name, 0, 0) == ["another"]
