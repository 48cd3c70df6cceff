"""Too much waits: a tenant is told so, nobody else is, and nothing gets slower or larger."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from redis import Redis

from shared.errors import QueueFull
from shared.jobs.job import Event, Priority, Release, Status
from shared.jobs.store import JobStore, NewJob, Outcome
from shared.webhooks.outbox import Went
from tests.shared.conftest import claimed, redis_time, wait_until

NewJobs = Callable[..., NewJob]
Stores = Callable[..., JobStore]
RANKS = list(Priority)


# --- how many, how long --------------------------------------------------------------------------


def test_a_tenant_may_have_only_so_many_jobs_waiting(store_with: Stores, new_job: NewJobs) -> None:
    store = store_with(max_queued_per_tenant=2)
    first = new_job()
    store.create(first)
    store.create(new_job())
    with pytest.raises(QueueFull) as refused:
        store.create(new_job())
    assert refused.value.retry_after_s > 0
    store.create(new_job(tenant="other"))
    store.claim(first.id, "w")
    store.create(new_job())


def test_who_has_waited_too_long_may_not_bring_more(
    store_with: Stores, new_job: NewJobs, redis: Redis
) -> None:
    store = store_with(max_queue_age_s=0.05)
    first = store.create(new_job())
    store.create(new_job())
    wait_until(redis, first.created_at + 0.06)
    with pytest.raises(QueueFull):
        store.create(refused := new_job())
    assert not [key for key in redis.keys("*") if refused.id in key]
    store.create(new_job(tenant="other"))  # whose turn comes first
    store.create(new_job(model="big"))
    while store.claim(first.id, "w"):
        pass
    store.create(new_job())


@pytest.mark.parametrize("waiting", RANKS)
@pytest.mark.parametrize("brought", RANKS)
def test_only_what_goes_first_counts(
    store_with: Stores, new_job: NewJobs, redis: Redis, waiting: Priority, brought: Priority
) -> None:
    store = store_with(max_queue_age_s=0.02)
    first = store.create(new_job(priority=waiting))
    wait_until(redis, first.created_at + 0.03)
    behind = RANKS.index(waiting) <= RANKS.index(brought)
    try:
        store.create(new_job(priority=brought))
    except QueueFull:
        assert behind
    else:
        assert not behind


def test_without_a_bound_a_job_may_wait_for_ever(
    store: JobStore, new_job: NewJobs, redis: Redis
) -> None:
    first = store.create(new_job())
    redis.zadd("fm:queue:normal:starter", {first.id: 1})
    store.create(new_job())


def test_a_job_between_two_tries_is_not_held_against_its_tenant(
    store_with: Stores, new_job: NewJobs, redis: Redis
) -> None:
    store = store_with(max_queue_age_s=0.05)
    claim = claimed(store, new_job())
    wait_until(redis, claim.job.created_at + 0.06)
    store.release(claim.job.id, claim.token, Release.TRANSIENT, delay_s=0.01)
    store.create(new_job())


# --- counters ------------------------------------------------------------------------------------


def test_the_counters_of_tenants_are_what_a_recount_gives(
    store: JobStore, new_job: NewJobs, redis: Redis
) -> None:
    ends = (Status.SUCCEEDED, Status.FAILED, Status.CANCELED, None, None)
    for number in range(30):
        new = new_job(tenant=f"t{number % 3}", priority=RANKS[number % 2])
        store.create(new)
        if number % 4 == 0:
            store.cancel(new.tenant, new.id)
        elif number % 4 < 3 and (claim := store.claim(new.id, "w")):
            end = ends[number % 5]
            if end:
                store.finish(claim.job.id, claim.token, Outcome(end))
        if number % 7 == 0:
            store.erase(new.tenant, new.id)
    for tenant in ("t0", "t1", "t2"):
        jobs, _ = store.list(tenant, limit=100)
        waiting = {job.id for job in jobs if job.status is Status.QUEUED}
        assert waiting  # or nothing is shown here
        assert {*redis.zrange(f"fm:tenant:{tenant}:queued", 0, -1)} == waiting
        lines = [redis.zrange(name, 0, -1) for name in redis.keys(f"fm:line:*:{tenant}")]
        assert {job_id for line in lines for job_id in line} == waiting


# --- cost ----------------------------------------------------------------------------------------


def commands(redis: Redis, work: Callable[[], object]) -> int:
    """How many commands Redis carried out for it, those of the scripts with them."""
    redis.config_resetstat()
    work()
    counted = redis.info("commandstats")
    return sum(line["calls"] for name, line in counted.items() if name != "cmdstat_evalsha")


def test_a_long_queue_makes_no_step_longer(store: JobStore, new_job: NewJobs, redis: Redis) -> None:
    def steps() -> list[int]:
        new = new_job()
        counted = [commands(redis, lambda: store.create(new))]
        claim = store.claim(new.id, "w")
        assert claim
        counted.append(commands(redis, lambda: store.claim(new.id, "w")))
        args = (claim.job.id, claim.token, Outcome(Status.SUCCEEDED))
        counted.append(commands(redis, lambda: store.finish(*args)))
        redis.zadd("fm:due:normal:starter", {new.id: 0 for new in waiting})
        counted.append(commands(redis, lambda: store.due(1)))
        return counted

    waiting = [new_job() for _ in range(20)]
    for new in waiting:
        store.create(new)
    waiting = waiting[-5:]
    steps()  # scripts are loaded
    short = steps()
    for number in range(2000):
        store.create(new_job(tenant=f"t{number % 50}"))
    assert steps() == short


def test_a_finished_job_is_small_in_redis(store: JobStore, new_job: NewJobs, redis: Redis) -> None:
    """With all that belongs to it: indexes, its Idempotency-Key, a webhook and its log."""
    face = {
        "index": 0, "box": [100.5, 80.25, 212.75, 230.5], "score": 0.9987, "status": "restored",
        "landmarks": [[120.5, 130.25]] * 5, "reason": None,
    }  # fmt: skip
    image = {
        "key": "tenants/acme/results/" + "x" * 90, "width": 4000, "height": 3000,
        "format": "jpeg", "bytes": 3_000_000, "sha256": "f" * 64,
    }  # fmt: skip
    model = {"name": "starter", "sha256": "e" * 64, "precision": "fp32", "backend": "torch"}
    result = {"image": image, "faces": [face], "model": model}
    hook = {"url": "https://shop.example/hooks/facemend", "events": [Event.SUCCEEDED]}

    def run(number: int) -> None:
        order = f"order-{number}"
        store.begin_idempotent("key_1", order, "body")
        claim = claimed(store, new_job(webhook=hook, idempotency_key=order))
        store.finish(claim.job.id, claim.token, Outcome(Status.SUCCEEDED, result))
        (delivery,) = store.outbox.take(1, 30)
        sent = {"at": redis_time(redis), "status_code": 204, "latency_ms": 12, "error": None}
        store.outbox.note(delivery, Went.DELIVERED, sent)

    def used() -> int:
        return int(redis.info("memory")["used_memory_dataset"])

    for number in range(100):
        run(number)
    before = used()
    for number in range(100, 600):
        run(number)
    redis.delete(*redis.keys("fm:claim:*"))  # would end by themselves in a moment
    assert (used() - before) / 500 <= 2048
