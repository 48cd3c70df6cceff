"""Which models are served: what workers said lately."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from redis import Redis

from shared.jobs.job import Status
from shared.jobs.record import NewJob, Outcome
from shared.jobs.store import JobStore
from shared.jobs.workers import SILENT_S, ServedModel
from tests.shared.conftest import claimed, redis_time

STARTER = ServedModel("starter", "e" * 64, 128, "Apache-2.0", "fp32", "torch", 12.5)
BIG = replace(STARTER, name="big", size_px=512, ms_per_face=None)


def fall_silent(redis: Redis, worker: str) -> None:
    redis.zadd("fm:workers", {worker: redis_time(redis) - SILENT_S})


def test_models_of_all_live_workers_are_served_each_once(store: JobStore) -> None:
    store.workers.announce("a-1", [STARTER])
    store.workers.announce("b-1", [BIG, STARTER])
    assert store.workers.served_models() == [BIG, STARTER]


def test_without_workers_nothing_is_served(store: JobStore) -> None:
    assert store.workers.served_models() == []


def test_the_latest_report_of_a_worker_counts(store: JobStore) -> None:
    store.workers.announce("a-1", [STARTER])
    store.workers.announce("b-1", [replace(STARTER, ms_per_face=7.0)])
    assert store.workers.served_models() == [replace(STARTER, ms_per_face=7.0)]
    store.workers.announce("a-1", [STARTER])
    assert store.workers.served_models() == [STARTER]


def test_a_silent_worker_serves_nothing(store: JobStore, redis: Redis) -> None:
    store.workers.announce("a-1", [STARTER])
    store.workers.announce("b-1", [BIG])
    fall_silent(redis, "a-1")
    assert store.workers.served_models() == [BIG]


def test_silent_workers_are_forgotten(store: JobStore, redis: Redis) -> None:
    store.workers.announce("a-1", [STARTER])
    fall_silent(redis, "a-1")
    store.workers.announce("b-1", [BIG])
    assert redis.hkeys("fm:workers:models") == ["b-1"]


def test_a_host_is_alive_while_one_of_its_workers_reports(store: JobStore, redis: Redis) -> None:
    store.workers.announce("gpu-box-17", [STARTER])
    assert store.workers.alive("gpu-box")
    assert not store.workers.alive("gpu")
    fall_silent(redis, "gpu-box-17")
    assert not store.workers.alive("gpu-box")


def test_unknown_fields_of_a_newer_worker_are_ignored(store: JobStore, redis: Redis) -> None:
    store.workers.announce("a-1", [STARTER])
    said = redis.hget("fm:workers:models", "a-1")
    redis.hset("fm:workers:models", "a-1", said.replace("{", '{"colour":"blue",'))
    assert store.workers.served_models() == [STARTER]


# --- estimates of the wait -----------------------------------------------------------------------


def succeed(store: JobStore, new: NewJob, faces: int) -> None:
    claim = claimed(store, new)
    result = {"faces": [{"status": "restored"}] * faces, "image": {"key": "k"}}
    assert store.runs.finish(new.id, claim.token, Outcome(Status.SUCCEEDED, result=result))


def test_the_wait_is_the_faces_ahead_by_the_speed_of_all_workers(
    store: JobStore, store_with: Callable[[], JobStore], new_job: Callable[..., NewJob]
) -> None:
    for faces in (2, 6):
        succeed(store, new_job(), faces)
    jobs = [store.create(new_job()) for _ in range(4)]
    assert store.get("acme", jobs[3].id).queue_eta_s is None  # no worker is live
    store.workers.announce("a-1", [replace(STARTER, ms_per_face=1000.0)])
    store.workers.announce("b-1", [replace(STARTER, ms_per_face=500.0), BIG])
    fresh = store_with()  # a store reads the workers once in some seconds
    waits = [fresh.get("acme", job.id).queue_eta_s for job in jobs]
    assert waits == [0.0, 1.3, 2.7, 4.0]  # four faces a job, three faces a second


def test_without_a_measured_speed_or_a_finished_job_the_wait_is_unknown(
    store: JobStore, new_job: Callable[..., NewJob]
) -> None:
    store.workers.announce("a-1", [STARTER, BIG])
    first = store.create(new_job())
    assert store.get("acme", first.id).queue_eta_s is None  # no job has ended
    succeed(store, new_job(model="big"), 1)
    slow = store.create(new_job(model="big"))
    assert store.get("acme", slow.id).queue_eta_s is None  # its speed is not measured


def test_the_mean_of_faces_forgets_old_jobs(
    store: JobStore, new_job: Callable[..., NewJob], redis: Redis
) -> None:
    redis.hset("fm:faces:starter", mapping={"jobs": 999, "faces": 1999})
    succeed(store, new_job(), 1)
    assert redis.hgetall("fm:faces:starter") == {"jobs": "500", "faces": "1000"}
