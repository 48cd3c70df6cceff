"""What happens as time passes: leases end, deadlines come, doorbells ring again."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from redis import Redis

from shared.errors import WorkerLost
from shared.jobs.job import (
    RELEASE_BUDGET,
    Priority,
    Release,
    Status,
)
from shared.jobs.runs import MAX_DOORBELLS
from shared.jobs.store import Beat, DueJob, JobStore, NewJob
from shared.queue.celery_queue import restore_queue
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
    assert store.reap() == []
    wait_until(redis, ends)
    assert store.reap() == [(claim.job.id, Status.QUEUED)]
    assert store.reap() == []
    assert store.beat(claim.job.id, claim.token) is Beat.FENCED
    assert [job.id for job in store.due()] == [claim.job.id]


def test_two_reapers_take_a_job_once(store: JobStore, new_job: NewJobs, redis: Redis) -> None:
    claims = [claimed(store, new_job()) for _ in range(20)]
    redis.zadd("fm:leases", {claim.job.id: 0 for claim in claims})
    reaped = [job_id for part in at_once(4, lambda _: store.reap()) for job_id, _ in part]
    assert sorted(reaped) == sorted(claim.job.id for claim in claims)


def test_a_job_whose_workers_die_again_and_again_fails(
    store: JobStore, new_job: NewJobs, redis: Redis
) -> None:
    new = new_job()
    store.create(new)
    ends: list[Status] = []
    while Status.FAILED not in ends:
        assert store.claim(new.id, "w") is not None
        redis.zadd("fm:leases", {new.id: 0})
        ends += [status for _, status in store.reap()]
    assert len(ends) == RELEASE_BUDGET[Release.LOST] + 1
    assert store.get("acme", new.id).error == WorkerLost().problem()


def test_a_job_past_its_day_fails_whether_it_waits_or_runs(
    store_with: Stores, new_job: NewJobs, redis: Redis
) -> None:
    store = store_with(job_deadline_s=0.05)
    waiting, running = new_job(), new_job()
    store.create(waiting)
    claimed(store, running)
    wait_until(redis, redis_time(redis) + 0.05)
    assert sorted(store.reap()) == sorted(
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
    assert store.reap() == [(job.id, Status.FAILED)]


def test_a_started_job_has_met_its_start_deadline(
    store: JobStore, new_job: NewJobs, redis: Redis, settings: Any
) -> None:
    claim = claimed(store, new_job(start_before_s=5))
    deadline = redis.zscore("fm:deadlines", claim.job.id)
    assert deadline == pytest.approx(claim.job.created_at + settings.job_deadline_s, abs=1e-3)


def test_an_index_entry_without_a_record_holds_up_nobody(
    store: JobStore, new_job: NewJobs, redis: Redis
) -> None:
    claim = claimed(store, new_job())
    for index in ("leases", "deadlines", "expiry", "due:normal:starter"):
        redis.zadd(f"fm:{index}", {"job_gone": 0})
    redis.zadd("fm:leases", {claim.job.id: 1})
    assert store.reap(limit=5) == [(claim.job.id, Status.QUEUED)]
    assert store.expired(5) == []
    assert [job.id for job in store.due(5)] == [claim.job.id]


# --- the dispatcher ------------------------------------------------------------------------------


def test_a_job_rings_again_until_it_is_claimed(
    store: JobStore, new_job: NewJobs, redis: Redis
) -> None:
    new = new_job()
    store.create(new)
    assert store.due() == []  # who created it rings first
    for _ in range(2):
        redis.zadd("fm:due:normal:starter", {new.id: 0})
        assert store.due() == [DueJob(new.id, "starter", Priority.NORMAL)]
        assert store.due() == []
    store.claim(new.id, "w")
    redis.zadd("fm:due:normal:starter", {new.id: 0}, xx=True)
    assert store.due() == []


def test_two_dispatchers_ring_a_job_once(store: JobStore, new_job: NewJobs, redis: Redis) -> None:
    jobs = [new_job() for _ in range(20)]
    for new in jobs:
        store.create(new)
    redis.zadd("fm:due:normal:starter", {new.id: 0 for new in jobs})
    rung = [job.id for part in at_once(4, lambda _: store.due()) for job in part]
    assert sorted(rung) == sorted(new.id for new in jobs)


def test_high_rings_before_normal_before_low(
    store: JobStore, new_job: NewJobs, redis: Redis
) -> None:
    for priority in (Priority.LOW, Priority.NORMAL, Priority.HIGH):
        store.create(new := new_job(priority=priority))
        redis.zadd(f"fm:due:{priority}:starter", {new.id: 0})
    assert [job.priority for job in store.due(2)] == [Priority.HIGH, Priority.NORMAL]
    assert [job.priority for job in store.due(2)] == [Priority.LOW]


def test_a_queue_full_of_doorbells_gets_no_more_and_keeps_others_ringing(
    store: JobStore, new_job: NewJobs, redis: Redis
) -> None:
    jobs = [new_job(priority=Priority.HIGH) for _ in range(3)]
    for new in (*jobs, other := new_job(model="big")):
        store.create(new)
    redis.zadd("fm:due:high:starter", {new.id: 0 for new in jobs})
    redis.zadd("fm:due:normal:big", {other.id: 0})
    bells = restore_queue("starter", Priority.HIGH)
    redis.rpush(bells, "bell", "bell", "bell")  # of whichever job: each starts one
    assert [job.id for job in store.due()] == [other.id]
    redis.lpop(bells)
    assert len(store.due()) == 1


def test_there_are_never_more_than_so_many_doorbells(
    store: JobStore, new_job: NewJobs, redis: Redis
) -> None:
    job = store.create(new_job())
    flood = {f"job_{number}": 9e9 for number in range(MAX_DOORBELLS)}
    redis.zadd("fm:due:normal:starter", flood | {job.id: 0})
    bells = restore_queue("starter", Priority.NORMAL)
    redis.rpush(bells, *["bell"] * MAX_DOORBELLS)
    store.create(new_job(), "another")
    assert redis.llen(bells) == MAX_DOORBELLS
    assert store.due() == []
    redis.lpop(bells)
    assert [due.id for due in store.due()] == [job.id]
    store.create(new_job(), "another")
    assert redis.lrange(bells, 0, 0) == ["another"]
