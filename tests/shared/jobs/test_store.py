"""Taking jobs and reading them; and the store as a whole."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from redis import Redis

from shared.errors import Conflict, NotFound, SettingsInvalid
from shared.jobs.job import (
    TRANSITIONS,
    Priority,
    Status,
    new_id,
)
from shared.jobs.store import JobStore, NewJob
from shared.redis.client import prelude
from tests.shared.conftest import DONE, claimed, redis_time

NewJobs = Callable[..., NewJob]


# --- taking and reading --------------------------------------------------------------------------


def test_a_created_job_reads_back_as_it_was_given(store: JobStore, new_job: NewJobs) -> None:
    new = new_job(priority=Priority.HIGH)
    created = store.create(new)
    job = store.get("acme", new.id)
    assert (job.status, job.attempt, job.version) == (Status.QUEUED, 0, 1)
    assert (job.model, job.priority) == ("starter", Priority.HIGH)
    assert (job.request, job.source) == (new.request, new.source)
    assert (job.started_at, job.finished_at, job.expires_at) == (None, None, None)
    assert job.created_at == created.created_at


def test_times_are_those_of_redis(store: JobStore, new_job: NewJobs, redis: Redis) -> None:
    before = redis_time(redis)
    created = store.create(new_job())
    assert before <= created.created_at <= redis_time(redis)


def test_a_missing_job_and_a_foreign_one_are_not_found_alike(
    store: JobStore, new_job: NewJobs
) -> None:
    new = new_job()
    store.create(new)
    with pytest.raises(NotFound) as foreign:
        store.get("other", new.id)
    with pytest.raises(NotFound) as missing:
        store.get("acme", new_id("job"))
    assert foreign.value.problem() == missing.value.problem()


def test_a_queued_job_knows_its_place_in_its_own_queue(store: JobStore, new_job: NewJobs) -> None:
    jobs = [new_job() for _ in range(3)]
    for new in (*jobs, urgent := new_job(priority=Priority.HIGH), other := new_job(model="big")):
        store.create(new)
    assert [store.get("acme", new.id).queue_position for new in jobs] == [1, 2, 3]
    assert store.get("acme", urgent.id).queue_position == 1
    assert store.get("acme", other.id).queue_position == 1
    store.claim(jobs[0].id, "w")
    assert store.get("acme", jobs[2].id).queue_position == 2
    assert store.get("acme", jobs[0].id).queue_position is None


def test_the_same_create_again_answers_the_same_job(store: JobStore, new_job: NewJobs) -> None:
    new = new_job()
    assert store.create(new) == store.create(new)
    assert store.counts()["queued"] == 1


def test_an_id_is_never_used_for_another_job(store: JobStore, new_job: NewJobs) -> None:
    new = new_job()
    store.create(new)
    for other in (new_job(id=new.id, tenant="other"), new_job(id=new.id, source={"url": "u"})):
        with pytest.raises(Conflict):
            store.create(other)


def test_unknown_fields_of_a_newer_version_are_ignored(
    store: JobStore, new_job: NewJobs, redis: Redis
) -> None:
    new = new_job()
    store.create(new)
    redis.hset(f"fm:job:{new.id}", "colour", "blue")
    assert store.get("acme", new.id).id == new.id
    assert store.claim(new.id, "w") is not None


# --- the whole -----------------------------------------------------------------------------------


def test_the_scripts_know_the_same_transitions_as_the_table(store: JobStore) -> None:
    """Tries every step from every state through ``move``, the one writer of a status."""
    client = store._redis
    script = client.register_script(
        prelude() + "local found = {} for from, tos in pairs(NEXT) do found[#found + 1] = {from} "
        "for to in pairs(tos) do table.insert(found[#found], to) end end return found"
    )
    table = {row[0]: set(row[1:]) for row in script()}
    assert table == {str(status): {*map(str, tos)} for status, tos in TRANSITIONS.items()}
    move = client.register_script(prelude() + "move(load(ARGV[1]), ARGV[2])")
    from redis import ResponseError

    for status, allowed in TRANSITIONS.items():
        for to in set(Status) - allowed:
            client.hset("fm:job:job_x", mapping={"tenant": "t", "status": status})
            with pytest.raises(ResponseError, match=f"cannot go from {status} to {to}"):
                move(args=["job_x", to])
            assert client.hget("fm:job:job_x", "status") == status


def test_a_redis_that_would_throw_jobs_away_is_refused(store: JobStore, redis: Redis) -> None:
    store.check_policy()
    redis.config_set("maxmemory-policy", "allkeys-lru")
    try:
        store.check_policy()  # without a limit nothing is ever thrown away
        redis.config_set("maxmemory", 10**9)
        with pytest.raises(SettingsInvalid, match="allkeys-lru"):
            store.check_policy()
        redis.config_set("maxmemory-policy", "noeviction")
        store.check_policy()
    finally:
        redis.config_set("maxmemory-policy", "noeviction")
        redis.config_set("maxmemory", 0)


def test_counts_tell_what_waits_and_what_runs(store: JobStore, new_job: NewJobs) -> None:
    for _ in range(2):
        store.create(new_job())
    store.create(new_job(priority=Priority.HIGH, model="big"))
    claim = claimed(store, new_job())
    assert store.counts() == {
        "queued": 3,
        "queued.starter.normal": 2,
        "queued.big.high": 1,
        "running": 1,
        "kept": 0,
        "deliveries_pending": 0,
    }
    store.finish(claim.job.id, claim.token, DONE)
    counts = store.counts()
    assert (counts["running"], counts["kept"], counts["deliveries_pending"]) == (0, 1, 1)
