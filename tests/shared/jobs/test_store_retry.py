"""A failed or canceled job again, under its own id, as if it were new."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from redis import Redis

from shared.errors import Conflict, NotFound, QueueFull
from shared.jobs.job import RELEASE_BUDGET, Event, Job, Release, Status
from shared.jobs.store import Beat, JobStore, NewJob
from shared.settings import Settings
from tests.shared.conftest import BROKEN, DONE, at_once, claimed, redis_time

NewJobs = Callable[..., NewJob]
Stores = Callable[..., JobStore]


def failed(store: JobStore, new: NewJob) -> Job:
    claim = claimed(store, new)
    store.finish(claim.job.id, claim.token, BROKEN)
    return store.get(new.tenant, new.id)


def canceled(store: JobStore, new: NewJob) -> Job:
    store.create(new)
    return store.cancel(new.tenant, new.id)


@pytest.mark.parametrize("end", [failed, canceled])
def test_a_job_that_ended_badly_is_as_good_as_new(
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
    assert store.expired() == []


def test_it_runs_and_ends_again(store: JobStore, new_job: NewJobs) -> None:
    failed(store, new := new_job())
    store.retry("acme", new.id)
    claim = store.claim(new.id, "w")
    assert claim
    assert claim.job.attempt == 1
    assert store.finish(new.id, claim.token, DONE)
    job = store.get("acme", new.id)
    assert (job.status, job.result, job.error) == (Status.SUCCEEDED, DONE.result, None)
    assert store.counts()["kept"] == 1


def test_each_generation_has_an_event_of_its_own(store: JobStore, new_job: NewJobs) -> None:
    """Also when it ends in the same way, and the deliveries of the first one stay listed."""
    failed(store, new := new_job())
    store.retry("acme", new.id)
    claim = store.claim(new.id, "w")
    assert claim
    store.finish(new.id, claim.token, BROKEN)
    first, second = store.deliveries("acme", new.id)
    assert first["event"] == second["event"] == Event.FAILED
    assert first["event_id"] != second["event_id"]


def test_its_budgets_are_fresh(store: JobStore, new_job: NewJobs) -> None:
    store.create(new := new_job())

    def losses() -> int:
        count = 0
        while claim := store.claim(new.id, "w"):
            store.release(new.id, claim.token, Release.LOST)
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
    assert store.reap() == []
    assert store.claim(new.id, "w")
    assert redis.zscore("fm:deadlines", new.id) == pytest.approx(whole, abs=60)


def test_its_start_deadline_is_new_too(store: JobStore, new_job: NewJobs, redis: Redis) -> None:
    canceled(store, new := new_job(start_before_s=500))
    store.retry("acme", new.id)
    begins = redis.zscore("fm:deadlines", new.id)
    assert begins == pytest.approx(redis_time(redis) + 500, abs=60)


@pytest.mark.parametrize("state", ["queued", "running", "succeeded"])
def test_what_did_not_end_badly_is_not_run_again(
    store: JobStore, new_job: NewJobs, state: str
) -> None:
    store.create(new := new_job())
    if state != "queued":
        claim = store.claim(new.id, "w")
        assert claim
        if state == "succeeded":
            store.finish(new.id, claim.token, DONE)
    before = store.get("acme", new.id)
    with pytest.raises(Conflict, match=state):
        store.retry("acme", new.id)
    assert store.get("acme", new.id) == before


def test_what_was_kept_long_enough_is_not_run_again(
    store: JobStore, new_job: NewJobs, redis: Redis
) -> None:
    """Somebody may be deleting its photo."""
    failed(store, new := new_job())
    redis.zadd("fm:expiry", {new.id: redis_time(redis)})
    (job,) = store.expired()
    with pytest.raises(Conflict, match="expired"):
        store.retry("acme", new.id)
    assert store.get("acme", new.id) == job


def test_nobody_retries_a_foreign_or_an_erased_job(store: JobStore, new_job: NewJobs) -> None:
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


def test_an_answer_that_was_lost_is_given_again(store: JobStore, new_job: NewJobs) -> None:
    failed(store, new := new_job())
    args = (new.id, "acme", 60, 100, 0, "call")
    once, again = (store._scripts.run("retry", *args) for _ in range(2))
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
    assert store.reap() == [(new.id, Status.FAILED)]
    store.retry("acme", new.id)
    assert store.beat(new.id, zombie.token) is Beat.FENCED
    assert store.finish(new.id, zombie.token, DONE) is False
    assert store.claim(new.id, "w")
    assert store.finish(new.id, zombie.token, DONE) is False
    assert store.get("acme", new.id).status is Status.RUNNING


def test_a_retried_job_is_rung_for(store: JobStore, new_job: NewJobs, redis: Redis) -> None:
    failed(store, new := new_job())
    store.retry("acme", new.id)
    assert store.due() == []  # who brought it back rings first
    redis.zadd("fm:due:normal:starter", {new.id: 0}, xx=True)
    assert [job.id for job in store.due()] == [new.id]


@pytest.mark.parametrize("events", [[Event.STARTED, Event.FAILED], [Event.FAILED], None])
def test_the_start_of_each_generation_is_told_to_who_wants_to_hear_it(
    store: JobStore, new_job: NewJobs, events: list[Event] | None
) -> None:
    hook: dict[str, Any] | None = events and {"url": "http://127.0.0.1:9/hook", "events": events}
    claim = claimed(store, new := new_job(webhook=hook))
    store.release(new.id, claim.token, Release.LOST)
    again = store.claim(new.id, "w")  # a second start of the same generation says nothing
    assert again
    store.finish(new.id, again.token, BROKEN)
    store.retry("acme", new.id)
    store.claim(new.id, "w")
    told = [entry["event"] for entry in store.deliveries("acme", new.id)]
    starts = [Event.STARTED] if events and Event.STARTED in events else []
    assert told == ([*starts, Event.FAILED, *starts] if events else [])
    assert len({entry["event_id"] for entry in store.deliveries("acme", new.id)}) == len(told)
