"""A retry runs a failed or canceled job again, under the same id, like a new job."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from redis import Redis

from shared.errors import Conflict, NotFound, QueueFull
from shared.jobs.job import RELEASE_BUDGET, Event, Job, Release, Status
from shared.jobs.record import NewJob
from shared.jobs.runs import Beat
from shared.jobs.store import JobStore
from shared.settings import Settings
from shared.webhooks.outbox import Outbox
from tests.shared.conftest import BROKEN, DONE, at_once, claimed, redis_time

NewJobs = Callable[..., NewJob]
Stores = Callable[..., JobStore]


def failed(store: JobStore, new: NewJob) -> Job:
    claim = claimed(store, new)
    store.runs.finish(claim.job.id, claim.token, BROKEN)
    return store.get(new.tenant, new.id)


def canceled(store: JobStore, new: NewJob) -> Job:
    store.create(new)
    return store.cancel(new.tenant, new.id)


@pytest.mark.parametrize("end", [failed, canceled])
def test_a_retried_job_is_like_a_new_one(
    store: JobStore, new_job: NewJobs, end: Callable[[JobStore, NewJob], Job], redis: Redis
) -> None:
    before = end(store, new := new_job())
    store.retry("acme", new.id)
    job = store.get("acme", new.id)
    assert (job.status, job.generation, job.attempt) == (Status.QUEUED, 2, 0)
    assert (job.error, job.result, job.started_at, job.finished_at) == (None, None, None, None)
    assert (job.expires_at, job.timings_ms, job.queue_position) == (None, {}, 1)
    assert (job.request, job.source) == (new.request, new.source)
    assert job.created_at == before.created_at
    assert job.version > before.version
    redis.zadd("fm:expiry", {new.id: 0}, xx=True)
    assert store.claim_expired() == []


def test_it_runs_and_ends_again(store: JobStore, new_job: NewJobs) -> None:
    failed(store, new := new_job())
    store.retry("acme", new.id)
    claim = store.runs.claim(new.id, "w")
    assert claim
    assert claim.job.attempt == 1
    assert store.runs.finish(new.id, claim.token, DONE)
    job = store.get("acme", new.id)
    assert (job.status, job.result, job.error) == (Status.SUCCEEDED, DONE.result, None)
    assert store.counts()["kept"] == 1


def test_each_generation_has_its_own_event(
    store: JobStore, outbox: Outbox, new_job: NewJobs
) -> None:
    """This holds for equal ends too; the deliveries of the first generation stay listed."""
    failed(store, new := new_job())
    store.retry("acme", new.id)
    claim = store.runs.claim(new.id, "w")
    assert claim
    store.runs.finish(new.id, claim.token, BROKEN)
    first, second = outbox.of_job("acme", new.id)
    assert first["event"] == second["event"] == Event.FAILED
    assert first["event_id"] != second["event_id"]


def test_its_budgets_are_fresh(store: JobStore, new_job: NewJobs) -> None:
    store.create(new := new_job())

    def losses() -> int:
        count = 0
        while claim := store.runs.claim(new.id, "w"):
            store.runs.release(new.id, claim.token, Release.LOST)
            count += 1
        return count

    assert losses() == RELEASE_BUDGET[Release.LOST] + 1
    store.retry("acme", new.id)
    assert losses() == RELEASE_BUDGET[Release.LOST] + 1


def test_its_deadline_is_new(
    store: JobStore, new_job: NewJobs, redis: Redis, settings: Settings
) -> None:
    failed(store, new := new_job())
    redis.hset(f"fm:job:{new.id}", "created_at", 1.0)  # long ago
    store.retry("acme", new.id)
    whole = redis_time(redis) + settings.job_deadline_s
    assert redis.zscore("fm:deadlines", new.id) == pytest.approx(whole, abs=60)
    assert store.runs.reap() == []
    assert store.runs.claim(new.id, "w")
    assert redis.zscore("fm:deadlines", new.id) == pytest.approx(whole, abs=60)


def test_its_start_deadline_is_new_too(store: JobStore, new_job: NewJobs, redis: Redis) -> None:
    canceled(store, new := new_job(start_before_s=500))
    store.retry("acme", new.id)
    begins = redis.zscore("fm:deadlines", new.id)
    assert begins == pytest.approx(redis_time(redis) + 500, abs=60)


@pytest.mark.parametrize("state", ["queued", "running", "succeeded"])
def test_only_a_failed_or_canceled_job_can_be_retried(
    store: JobStore, new_job: NewJobs, state: str
) -> None:
    store.create(new := new_job())
    if state != "queued":
        claim = store.runs.claim(new.id, "w")
        assert claim
        if state == "succeeded":
            store.runs.finish(new.id, claim.token, DONE)
    before = store.get("acme", new.id)
    with pytest.raises(Conflict, match=state):
        store.retry("acme", new.id)
    assert store.get("acme", new.id) == before


def test_an_expired_job_cannot_be_retried(store: JobStore, new_job: NewJobs, redis: Redis) -> None:
    """The notifier may be deleting its photo."""
    failed(store, new := new_job())
    redis.zadd("fm:expiry", {new.id: redis_time(redis)})
    (job,) = store.claim_expired()
    with pytest.raises(Conflict, match="expired"):
        store.retry("acme", new.id)
    assert store.get("acme", new.id) == job


def test_an_erased_job_and_one_of_another_tenant_cannot_be_retried(
    store: JobStore, new_job: NewJobs
) -> None:
    failed(store, new := new_job())
    with pytest.raises(NotFound):
        store.retry("other", new.id)
    store.erase("acme", new.id)
    with pytest.raises(NotFound):
        store.retry("acme", new.id)


def test_of_many_retries_at_once_one_counts(store: JobStore, new_job: NewJobs) -> None:
    failed(store, new := new_job())

    def again(_: int) -> bool:
        try:
            store.retry("acme", new.id)
        except Conflict:
            return False
        return True

    assert sum(at_once(8, again)) == 1
    assert store.get("acme", new.id).generation == 2


def test_a_repeated_call_after_a_lost_response_returns_the_same(
    store: JobStore, new_job: NewJobs
) -> None:
    failed(store, new := new_job())
    arguments = {
        "id": new.id,
        "tenant": "acme",
        "deadline_s": 60,
        "max_queued": 100,
        "max_age_s": 0,
        "call": "call",
        "token_id": None,
        "pool": None,
        "generation": None,
        "message": None,
        "max_doorbells": 1000,
    }
    once, again = (store._scripts.run("retry", **arguments) for _ in range(2))
    assert once == again


def test_a_retry_counts_against_the_quota(store_with: Stores, new_job: NewJobs) -> None:
    store = store_with(max_queued_per_tenant=1)
    failed(store, new := new_job())
    store.create(new_job())
    with pytest.raises(QueueFull):
        store.retry("acme", new.id)
    assert store.get("acme", new.id).status is Status.FAILED


def test_the_run_of_an_older_generation_is_fenced(
    store: JobStore, new_job: NewJobs, redis: Redis
) -> None:
    zombie = claimed(store, new := new_job())
    redis.zadd("fm:deadlines", {new.id: 0})
    assert store.runs.reap() == [(new.id, Status.FAILED)]
    store.retry("acme", new.id)
    assert store.runs.beat(new.id, zombie.token) is Beat.FENCED
    assert store.runs.finish(new.id, zombie.token, DONE) is False
    assert store.runs.claim(new.id, "w")
    assert store.runs.finish(new.id, zombie.token, DONE) is False
    assert store.get("acme", new.id).status is Status.RUNNING


def test_the_doorbell_of_a_retried_job_rings(
    store: JobStore, new_job: NewJobs, redis: Redis
) -> None:
    failed(store, new := new_job())
    store.retry("acme", new.id)
    assert store.runs.due() == []  # who brought it back rings first
    redis.zadd("fm:due:normal:starter", {new.id: 0}, xx=True)
    assert [job.id for job in store.runs.due()] == [new.id]


@pytest.mark.parametrize("events", [[Event.STARTED, Event.FAILED], [Event.FAILED], None])
def test_each_generation_has_a_delivery_for_its_start_if_the_webhook_wants_it(
    store: JobStore, outbox: Outbox, new_job: NewJobs, events: list[Event] | None
) -> None:
    hook: dict[str, Any] | None = events and {"url": "http://127.0.0.1:9/hook", "events": events}
    claim = claimed(store, new := new_job(webhook=hook))
    store.runs.release(new.id, claim.token, Release.LOST)
    again = store.runs.claim(new.id, "w")  # a second start of the same generation says nothing
    assert again
    store.runs.finish(new.id, again.token, BROKEN)
    store.retry("acme", new.id)
    store.runs.claim(new.id, "w")
    told = [entry["event"] for entry in outbox.of_job("acme", new.id)]
    starts = [Event.STARTED] if events and Event.STARTED in events else []
    assert told == ([*starts, Event.FAILED, *starts] if events else [])
    assert len({entry["event_id"] for entry in outbox.of_job("acme", new.id)}) == len(told)
