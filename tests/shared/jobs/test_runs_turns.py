"""The fair queue: tenants take turns, and each tenant's oldest job is first."""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from random import Random

import pytest
from redis import Redis

from shared.jobs.job import Priority, Release, Status
from shared.jobs.record import NewJob
from shared.jobs.store import JobStore
from tests.shared.conftest import DONE, redis_time

NewJobs = Callable[..., NewJob]
CREDIT = 16  # turns that a newcomer may be behind the others


@pytest.fixture
def queue(store: JobStore, new_job: NewJobs) -> Callable[..., list[str]]:
    """Put jobs of one tenant into the queue; return their ids."""

    def put(tenant: str, count: int, **fields: object) -> list[str]:
        jobs = [new_job(tenant=tenant, webhook=None, **fields) for _ in range(count)]
        for new in jobs:
            store.create(new)
        return [new.id for new in jobs]

    return put


@pytest.fixture
def starts(store: JobStore) -> Callable[[str, int], list[str]]:
    """Return the tenants of the jobs that ``count`` doorbells start, in order."""

    def ring(doorbell: str, count: int) -> list[str]:
        claims = [store.runs.claim(doorbell, "w") for _ in range(count)]
        return [claim.job.tenant for claim in claims if claim]

    return ring


Queue = Callable[..., list[str]]
Starts = Callable[[str, int], list[str]]


def test_a_tenants_oldest_job_starts_first_whichever_doorbell_rang(
    store: JobStore, queue: Queue
) -> None:
    jobs = queue("acme", 3)
    claims = [store.runs.claim(doorbell, "w") for doorbell in (jobs[2], jobs[0], jobs[0])]
    assert [claim and claim.job.id for claim in claims] == jobs


def test_the_doorbell_of_an_ended_job_starts_another_job(store: JobStore, queue: Queue) -> None:
    first, second = queue("acme", 2)
    store.cancel("acme", first)
    claim = store.runs.claim(first, "w")
    assert claim
    assert claim.job.id == second
    assert store.runs.claim(second, "w") is None


def test_a_doorbell_starts_no_job_of_another_queue(store: JobStore, queue: Queue) -> None:
    (normal,) = queue("acme", 1)
    queue("acme", 1, priority=Priority.HIGH)
    queue("acme", 1, model="big")
    claim = store.runs.claim(normal, "w")
    assert claim
    assert claim.job.id == normal
    assert store.runs.claim(normal, "w") is None


def test_a_repeated_call_after_a_lost_response_returns_the_same(
    store: JobStore, queue: Queue
) -> None:
    """redis-py sends a script again if the connection breaks before the response."""
    first, second = queue("acme", 2)
    arguments = {
        "doorbell_id": second,
        "worker": "w",
        "token": "t" * 32,
        "lease_s": 10,
        "deadline_s": 60,
        "too_late": "{}",
        "never_started": "{}",
        "places": None,
        "pool": None,
    }
    once, again = (store._scripts.run("claim", **arguments) for _ in range(2))
    assert once == again
    assert once[0] == first
    assert store.get("acme", second).status is Status.QUEUED


def test_a_few_jobs_start_before_a_flood_of_another_tenant(queue: Queue, starts: Starts) -> None:
    flood = queue("flood", 60)
    starts(flood[0], 20)
    queue("small", 5)
    assert starts(flood[0], 6) == ["small"] * 5 + ["flood"]


def test_two_tenants_with_many_jobs_take_turns(queue: Queue, starts: Starts) -> None:
    doorbell = queue("first", 60)[0]
    starts(doorbell, 20)
    queue("second", 60)
    assert starts(doorbell, CREDIT) == ["second"] * CREDIT
    assert Counter(starts(doorbell, 20)) == {"first": 10, "second": 10}


def test_a_hundred_tenants_have_one_turn_each(queue: Queue, starts: Starts) -> None:
    tenants = [f"t{number}" for number in range(100)]
    doorbells = [queue(tenant, 2)[0] for tenant in tenants]
    assert sorted(starts(doorbells[0], 100)) == sorted(tenants)


def test_turns_that_a_tenant_can_save_are_limited(queue: Queue, starts: Starts) -> None:
    """A tenant that was away for long has no more credit than CREDIT turns."""
    doorbell = queue("busy", 120)[0]
    queue("idle", 1)
    starts(doorbell, 80)
    queue("idle", 40)
    assert starts(doorbell, 20) == ["idle"] * CREDIT + ["busy", "idle"] * 2


def test_an_empty_queue_for_a_moment_brings_no_new_credit(queue: Queue, starts: Starts) -> None:
    doorbell = queue("busy", 80)[0]
    starts(doorbell, 30)
    queue("sly", CREDIT)
    assert starts(doorbell, CREDIT) == ["sly"] * CREDIT
    queue("sly", 10)
    assert Counter(starts(doorbell, 10)) == {"busy": 5, "sly": 5}


def test_turns_are_forgotten_when_no_job_waits(
    store: JobStore, queue: Queue, starts: Starts, redis: Redis
) -> None:
    doorbell = queue("acme", 3)[0]
    queue("globex", 1)
    starts(doorbell, 4)
    assert not redis.keys("fm:turns:*") + redis.keys("fm:rested:*") + redis.keys("fm:line:*")


def test_what_is_remembered_of_absent_tenants_is_bounded(
    queue: Queue, starts: Starts, redis: Redis
) -> None:
    doorbell = queue("busy", 200)[0]
    for number in range(100):
        queue(f"t{number}", 1)
        starts(doorbell, 2)
    assert redis.zcard("fm:rested:normal:starter") <= 2 * CREDIT


def test_a_job_that_waits_for_its_next_try_does_not_block_others(
    store: JobStore, queue: Queue, redis: Redis
) -> None:
    first, second = queue("acme", 2)
    claim = store.runs.claim(first, "w")
    assert claim
    store.runs.release(first, claim.token, Release.TRANSIENT, delay_s=60)
    other = store.runs.claim(first, "w")
    assert other
    assert other.job.id == second
    assert store.runs.claim(first, "w") is None
    redis.zadd("fm:later", {first: redis_time(redis)})
    assert [job.id for job in store.runs.due()] == [first]
    again = store.runs.claim(first, "w")
    assert again
    assert again.job.id == first


def test_a_full_list_of_doorbells_does_not_delay_the_next_try_of_a_job(
    store: JobStore, queue: Queue, redis: Redis
) -> None:
    (job,) = queue("acme", 1)
    claim = store.runs.claim(job, "w")
    assert claim
    store.runs.release(job, claim.token, Release.TRANSIENT, delay_s=60)
    redis.rpush("restore.starter.normal", "doorbell")
    redis.zadd("fm:later", {job: 0})
    assert store.runs.due() == []
    assert store.runs.claim(job, "w") is not None


@pytest.mark.parametrize("way", ["cancel", "erase"])
def test_a_job_that_is_erased_between_two_tries_leaves_no_trace(
    store: JobStore, queue: Queue, redis: Redis, way: str
) -> None:
    (job,) = queue("acme", 1)
    claim = store.runs.claim(job, "w")
    assert claim
    store.runs.release(job, claim.token, Release.TRANSIENT, delay_s=60)
    getattr(store, way)("acme", job)
    assert not redis.exists("fm:later", "fm:queue:normal:starter", "fm:tenant:acme:queued")


@pytest.mark.parametrize("by_hand", ["no record", "no record, ringing", "no doorbells", "ended"])
def test_a_broken_queue_entry_does_not_block_other_jobs(
    store: JobStore, queue: Queue, redis: Redis, by_hand: str
) -> None:
    gone, left = queue("acme", 2)
    if by_hand == "no doorbells":
        claim = store.runs.claim(left, "w")
        assert claim
        store.runs.finish(claim.job.id, claim.token, DONE)
        redis.delete("fm:due:normal:starter")
    elif by_hand == "ended":
        redis.hset(f"fm:job:{gone}", "status", "failed")
    else:
        redis.delete(f"fm:job:{gone}")
        if "ringing" in by_hand:
            redis.zadd("fm:due:normal:starter", {gone: 0})
            store.runs.due()
    claim = store.runs.claim(left, "w")
    assert claim
    assert claim.job.id == left
    assert store.counts()["queued"] == 0


# --- in seconds ----------------------------------------------------------------------------------


def latencies(store: JobStore, jobs: dict[str, float], *, slots: int, job_s: float) -> list[float]:
    """How long each job takes from its arrival, by a clock of our own.

    ``jobs`` are in the queue already; no slot starts anything before it arrives.
    """
    doorbell = next(iter(jobs))
    free = [(number * job_s / slots, number) for number in range(slots)]
    heapq.heapify(free)
    took = {}
    while claim := store.runs.claim(doorbell, "w"):
        at, slot = heapq.heappop(free)
        heapq.heappush(free, (at + job_s, slot))
        took[claim.job.id] = at + job_s
        store.runs.finish(claim.job.id, claim.token, DONE)
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


# --- the position in the queue -----------------------------------------------------------------


def test_the_position_is_the_order_in_which_jobs_start(store: JobStore, queue: Queue) -> None:
    """Tenants with and without credit, several priorities, and a job that waits for a retry."""
    random = Random(7)
    tenants = ("acme", "bob", "carl")
    for round_ in range(12):
        jobs = [
            (tenant, job_id)
            for tenant in random.sample(tenants, 3)
            for job_id in queue(tenant, random.randrange(6), priority=random.choice([*Priority]))
        ]
        jobs += [("acme", job_id) for job_id in queue("acme", 1, priority=Priority.LOW)]
        expected = {job_id: store.get(tenant, job_id).queue_position for tenant, job_id in jobs}
        count = random.randrange(1, 6) if round_ < 11 else 1000
        waiting = [*_all_queued(store, tenants)]
        positions = [store.get(tenant, job_id).queue_position for tenant, job_id in waiting]
        order = dict(zip([job_id for _, job_id in waiting], positions, strict=True))
        assert sorted(positions) == list(range(1, len(waiting) + 1))
        assert expected.items() <= order.items()
        started = _start_in_order(store, waiting, count)
        assert [order[job_id] for job_id in started] == list(range(1, len(started) + 1))


def _all_queued(store: JobStore, tenants: Iterable[str]) -> Iterator[tuple[str, str]]:
    for tenant in tenants:
        jobs, _ = store.page(tenant, status=Status.QUEUED, limit=100)
        yield from ((tenant, job.id) for job in jobs)


def _start_in_order(store: JobStore, waiting: list[tuple[str, str]], count: int) -> list[str]:
    """Start jobs as a worker does: first all of high priority, then normal, then low."""
    started: list[str] = []
    for priority in Priority:
        for tenant, job_id in waiting:
            if len(started) < count and store.get(tenant, job_id).priority is priority:
                claim = store.runs.claim(job_id, "w")
                if claim:
                    started.append(claim.job.id)
    return started


def test_a_job_that_waits_before_its_next_try_has_the_position_of_its_line(
    store: JobStore, queue: Queue
) -> None:
    first, second, third = queue("acme", 3)
    claim = store.runs.claim(first, "w")
    assert claim
    store.runs.release(first, claim.token, Release.TRANSIENT, delay_s=60)
    assert store.get("acme", first).queue_position == 1
    assert store.get("acme", second).queue_position == 1
    assert store.get("acme", third).queue_position == 2
