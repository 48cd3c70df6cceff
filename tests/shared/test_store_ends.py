"""How jobs end: canceled, expired, erased."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from redis import Redis

from shared.errors import Conflict, NotFound
from shared.jobs import (
    TERMINAL_EVENT,
    Progress,
    Release,
    Stage,
    Status,
)
from shared.store import Beat, Claim, JobStore, NewJob, Outcome
from tests.shared.conftest import DONE, at_once, claimed, redis_time

NewJobs = Callable[..., NewJob]
Stores = Callable[..., JobStore]


# --- cancel --------------------------------------------------------------------------------------


def test_a_queued_job_is_canceled_at_once(store: JobStore, new_job: NewJobs) -> None:
    new = new_job()
    store.create(new)
    assert store.cancel("acme", new.id).status is Status.CANCELED
    assert store.claim(new.id, "w") is None
    assert [entry["event"] for entry in store.deliveries("acme", new.id)] == [
        TERMINAL_EVENT[Status.CANCELED]
    ]


def test_a_running_job_is_asked_to_stop_once(store: JobStore, new_job: NewJobs) -> None:
    claim = claimed(store, new_job())
    asked = store.cancel("acme", claim.job.id)
    assert asked.status is Status.RUNNING
    assert asked.cancel_requested
    assert store.cancel("acme", claim.job.id).version == asked.version
    assert store.beat(claim.job.id, claim.token) is Beat.CANCEL
    assert store.progress(claim.job.id, claim.token, Progress(Stage.PASTING)) is Beat.CANCEL


def test_a_cancel_that_was_accepted_wins_over_the_result(store: JobStore, new_job: NewJobs) -> None:
    claim = claimed(store, new_job())
    store.cancel("acme", claim.job.id)
    assert store.finish(claim.job.id, claim.token, DONE)
    job = store.get("acme", claim.job.id)
    assert (job.status, job.result) == (Status.CANCELED, None)


@pytest.mark.parametrize("way", ["release", "reap"])
def test_a_canceled_run_does_not_start_again(
    store: JobStore, new_job: NewJobs, redis: Redis, way: str
) -> None:
    claim = claimed(store, new_job())
    store.cancel("acme", claim.job.id)
    if way == "release":
        assert store.release(claim.job.id, claim.token, Release.DRAIN) is Status.CANCELED
    else:
        redis.zadd("fm:leases", {claim.job.id: 0})
        assert store.reap() == [(claim.job.id, Status.CANCELED)]
    assert store.get("acme", claim.job.id).status is Status.CANCELED


def test_a_cancel_wins_over_a_deadline(store: JobStore, new_job: NewJobs, redis: Redis) -> None:
    claim = claimed(store, new_job())
    store.cancel("acme", claim.job.id)
    redis.zadd("fm:deadlines", {claim.job.id: 0})
    assert store.reap() == [(claim.job.id, Status.CANCELED)]
    assert store.get("acme", claim.job.id).error is None


def test_an_ended_job_is_not_canceled(store: JobStore, new_job: NewJobs) -> None:
    claim = claimed(store, new_job())
    store.finish(claim.job.id, claim.token, DONE)
    with pytest.raises(Conflict):
        store.cancel("acme", claim.job.id)


def test_nobody_cancels_a_foreign_job(store: JobStore, new_job: NewJobs) -> None:
    claim = claimed(store, new_job())
    with pytest.raises(NotFound):
        store.cancel("other", claim.job.id)
    assert store.beat(claim.job.id, claim.token) is Beat.GO_ON


def test_cancel_and_finish_at_once_agree_on_one_end(store: JobStore, new_job: NewJobs) -> None:
    for _ in range(20):
        claim = claimed(store, new_job())

        def race(number: int, claim: Claim = claim) -> bool:
            if number:
                return store.finish(claim.job.id, claim.token, DONE)
            try:
                store.cancel("acme", claim.job.id)
            except Conflict:
                return False
            return True

        accepted, finished = at_once(2, race)
        job = store.get("acme", claim.job.id)
        assert finished
        assert job.status is (Status.CANCELED if accepted else Status.SUCCEEDED)
        assert [entry["event"] for entry in store.deliveries("acme", job.id)] == [
            TERMINAL_EVENT[job.status]
        ]


# --- the end -------------------------------------------------------------------------------------


def test_an_ended_job_expires_when_its_time_is_over(
    store: JobStore, new_job: NewJobs, redis: Redis
) -> None:
    claim = claimed(store, new_job())
    store.finish(claim.job.id, claim.token, DONE)
    assert store.expired(10) == []
    redis.zadd("fm:expiry", {claim.job.id: redis_time(redis)})
    assert store.expired(10) == [store.get("acme", claim.job.id)]


@pytest.mark.parametrize("state", ["queued", "running", "ended"])
def test_an_erased_job_leaves_only_a_tombstone(
    store: JobStore, new_job: NewJobs, redis: Redis, state: str
) -> None:
    new = new_job()
    store.create(new)
    token = ""
    if state != "queued":
        claim = store.claim(new.id, "w")
        assert claim is not None
        token = claim.token
    if state == "ended":
        store.finish(new.id, token, DONE)
    assert not store.erase("other", new.id)
    assert store.erase("acme", new.id)
    left = {key for key in redis.keys("*") if key != "fm:queues"}
    assert left == {f"fm:gone:{new.id}"}
    assert 0 < redis.ttl(f"fm:gone:{new.id}") <= 86_400


def test_nothing_late_revives_an_erased_job(store: JobStore, new_job: NewJobs) -> None:
    claim = claimed(store, new := new_job())
    store.erase("acme", new.id)
    assert store.beat(new.id, claim.token) is Beat.FENCED
    assert store.progress(new.id, claim.token, Progress(Stage.PASTING)) is Beat.FENCED
    assert store.release(new.id, claim.token, Release.TRANSIENT) is None
    assert store.finish(new.id, claim.token, DONE) is False
    assert store.claim(new.id, "w") is None
    assert not store.erase("acme", new.id)
    with pytest.raises(Conflict):
        store.create(new)
    with pytest.raises(NotFound):
        store.get("acme", new.id)


def test_a_finished_job_is_small_in_redis(store: JobStore, new_job: NewJobs, redis: Redis) -> None:
    face = {
        "index": 0, "box": [100.5, 80.25, 212.75, 230.5], "score": 0.9987, "status": "restored",
        "landmarks": [[120.5, 130.25]] * 5, "reason": None,
    }  # fmt: skip
    image = {
        "key": "tenants/acme/results/" + "x" * 90, "width": 4000, "height": 3000,
        "format": "jpeg", "bytes": 3_000_000, "sha256": "f" * 64,
    }  # fmt: skip
    model = {"name": "starter", "sha256": "e" * 64, "precision": "fp32", "backend": "torch"}
    claim = claimed(store, new_job())
    result = {"image": image, "faces": [face], "model": model}
    store.finish(claim.job.id, claim.token, Outcome(Status.SUCCEEDED, result))
    taken = sum(redis.memory_usage(f"fm:job:{claim.job.id}{part}") for part in ("", ":deliveries"))
    assert taken <= 2048
