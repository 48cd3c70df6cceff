"""Who is next: the oldest of the tenant whose turn it is, so that a flood drowns nobody."""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Callable

import pytest
from redis import Redis

from shared.jobs.job import Priority, Release, Status
from shared.jobs.store import JobStore, NewJob
from tests.shared.conftest import DONE, redis_time

NewJobs = Callable[..., NewJob]
CREDIT = 16  # turns that a newcomer may be behind the others


@pytest.fixture
def queue(store: JobStore, new_job: NewJobs) -> Callable[..., list[str]]:
    """Put jobs of one tenant into the queue; their ids."""

    def put(tenant: str, count: int, **fields: object) -> list[str]:
        jobs = [new_job(tenant=tenant, webhook=None, **fields) for _ in range(count)]
        for new in jobs:
            store.create(new)
        return [new.id for new in jobs]

    return put


@pytest.fixture
def starts(store: JobStore) -> Callable[[str, int], list[str]]:
    """The tenants of the jobs that so many doorbells start, in order."""

    def ring(bell: str, count: int) -> list[str]:
        claims = [store.claim(bell, "w") for _ in range(count)]
        return [claim.job.tenant for claim in claims if claim]

    return ring


Queue = Callable[..., list[str]]
Starts = Callable[[str, int], list[str]]


def test_a_tenant_s_oldest_job_is_first_whichever_rang(store: JobStore, queue: Queue) -> None:
    jobs = queue("acme", 3)
    claims = [store.claim(bell, "w") for bell in (jobs[2], jobs[0], jobs[0])]
    assert [claim and claim.job.id for claim in claims] == jobs


def test_the_bell_of_a_job_that_ended_starts_another(store: JobStore, queue: Queue) -> None:
    first, second = queue("acme", 2)
    store.cancel("acme", first)
    claim = store.claim(first, "w")
    assert claim
    assert claim.job.id == second
    assert store.claim(second, "w") is None


def test_a_bell_starts_nothing_of_another_queue(store: JobStore, queue: Queue) -> None:
    (normal,) = queue("acme", 1)
    queue("acme", 1, priority=Priority.HIGH)
    queue("acme", 1, model="big")
    claim = store.claim(normal, "w")
    assert claim
    assert claim.job.id == normal
    assert store.claim(normal, "w") is None


def test_an_answer_that_was_lost_is_given_again(store: JobStore, queue: Queue) -> None:
    """redis-py sends a script a second time when the connection broke before its answer."""
    first, second = queue("acme", 2)
    args = (second, "w", "t" * 32, 10, 60, "{}")
    once, again = (store._scripts.run("claim", *args) for _ in range(2))
    assert once == again
    assert once[0] == first
    assert store.get("acme", second).status is Status.QUEUED


def test_a_few_photos_go_before_a_flood(queue: Queue, starts: Starts) -> None:
    flood = queue("flood", 60)
    starts(flood[0], 20)
    queue("small", 5)
    assert starts(flood[0], 6) == ["small"] * 5 + ["flood"]


def test_two_floods_share(queue: Queue, starts: Starts) -> None:
    bell = queue("first", 60)[0]
    starts(bell, 20)
    queue("second", 60)
    assert starts(bell, CREDIT) == ["second"] * CREDIT
    assert Counter(starts(bell, 20)) == {"first": 10, "second": 10}


def test_a_hundred_tenants_have_one_turn_each(queue: Queue, starts: Starts) -> None:
    tenants = [f"t{number}" for number in range(100)]
    bells = [queue(tenant, 2)[0] for tenant in tenants]
    assert sorted(starts(bells[0], 100)) == sorted(tenants)


def test_nobody_saves_up_turns(queue: Queue, starts: Starts) -> None:
    """Having been away for long is worth no more than having been away for CREDIT turns."""
    bell = queue("busy", 120)[0]
    queue("idle", 1)
    starts(bell, 80)
    queue("idle", 40)
    assert starts(bell, 20) == ["idle"] * CREDIT + ["busy", "idle"] * 2


def test_leaving_and_coming_back_brings_no_new_credit(queue: Queue, starts: Starts) -> None:
    bell = queue("busy", 80)[0]
    starts(bell, 30)
    queue("sly", CREDIT)
    assert starts(bell, CREDIT) == ["sly"] * CREDIT
    queue("sly", 10)
    assert Counter(starts(bell, 10)) == {"busy": 5, "sly": 5}


def test_turns_are_forgotten_when_nobody_waits(
    store: JobStore, queue: Queue, starts: Starts, redis: Redis
) -> None:
    bell = queue("acme", 3)[0]
    queue("globex", 1)
    starts(bell, 4)
    assert not redis.keys("fm:turns:*") + redis.keys("fm:rested:*") + redis.keys("fm:line:*")


def test_what_is_remembered_of_absent_tenants_is_bounded(
    queue: Queue, starts: Starts, redis: Redis
) -> None:
    bell = queue("busy", 200)[0]
    for number in range(100):
        queue(f"t{number}", 1)
        starts(bell, 2)
    assert redis.zcard("fm:rested:normal:starter") <= 2 * CREDIT


def test_a_job_that_waits_for_its_next_try_holds_up_nobody(
    store: JobStore, queue: Queue, redis: Redis
) -> None:
    first, second = queue("acme", 2)
    claim = store.claim(first, "w")
    assert claim
    store.release(first, claim.token, Release.TRANSIENT, delay_s=60)
    other = store.claim(first, "w")
    assert other
    assert other.job.id == second
    assert store.claim(first, "w") is None
    redis.zadd("fm:later", {first: redis_time(redis)})
    assert [job.id for job in store.due()] == [first]
    again = store.claim(first, "w")
    assert again
    assert again.job.id == first


def test_a_full_list_of_doorbells_does_not_keep_a_try_from_its_turn(
    store: JobStore, queue: Queue, redis: Redis
) -> None:
    (job,) = queue("acme", 1)
    claim = store.claim(job, "w")
    assert claim
    store.release(job, claim.token, Release.TRANSIENT, delay_s=60)
    redis.rpush("restore.starter.normal", "bell")
    redis.zadd("fm:later", {job: 0})
    assert store.due() == []
    assert store.claim(job, "w") is not None


@pytest.mark.parametrize("way", ["cancel", "erase"])
def test_a_job_between_two_tries_goes_without_a_trace(
    store: JobStore, queue: Queue, redis: Redis, way: str
) -> None:
    (job,) = queue("acme", 1)
    claim = store.claim(job, "w")
    assert claim
    store.release(job, claim.token, Release.TRANSIENT, delay_s=60)
    getattr(store, way)("acme", job)
    assert not redis.exists("fm:later", "fm:queue:normal:starter", "fm:tenant:acme:queued")


@pytest.mark.parametrize("by_hand", ["no record", "no record, rung", "no bells", "ended"])
def test_what_is_written_by_hand_holds_up_nobody(
    store: JobStore, queue: Queue, redis: Redis, by_hand: str
) -> None:
    gone, left = queue("acme", 2)
    if by_hand == "no bells":
        claim = store.claim(left, "w")
        assert claim
        store.finish(claim.job.id, claim.token, DONE)
        redis.delete("fm:due:normal:starter")
    elif by_hand == "ended":
        redis.hset(f"fm:job:{gone}", "status", "failed")
    else:
        redis.delete(f"fm:job:{gone}")
        if "rung" in by_hand:
            redis.zadd("fm:due:normal:starter", {gone: 0})
            store.due()
    claim = store.claim(left, "w")
    assert claim
    assert claim.job.id == left
    assert store.counts()["queued"] == 0


# --- in seconds ----------------------------------------------------------------------------------


def latencies(store: JobStore, jobs: dict[str, float], *, slots: int, job_s: float) -> list[float]:
    """How long each job takes from its arrival, by a clock of our own.

    ``jobs`` are in the queue already; no slot starts anything before it arrives.
    """
    bell = next(iter(jobs))
    free = [(number * job_s / slots, number) for number in range(slots)]
    heapq.heapify(free)
    took = {}
    while claim := store.claim(bell, "w"):
        at, slot = heapq.heappop(free)
        heapq.heappush(free, (at + job_s, slot))
        took[claim.job.id] = at + job_s
        store.finish(claim.job.id, claim.token, DONE)
    return [took[job_id] - arrived for job_id, arrived in jobs.items()]


def test_a_flood_makes_a_small_tenant_wait_at_most_twice_as_long(
    store: JobStore, queue: Queue
) -> None:
    small = dict.fromkeys(queue("small", 5), 0.0)
    alone = max(latencies(store, small, slots=4, job_s=1.0))
    queue("flood", 1000)
    small = dict.fromkeys(queue("small", 5), 0.0)
    beside = max(latencies(store, small, slots=4, job_s=1.0))
    assert beside <= 2 * alone
