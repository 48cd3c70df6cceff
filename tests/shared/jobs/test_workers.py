"""Which models are served: what workers said lately."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from random import Random

import pytest
from redis import Redis

from shared.jobs.job import Job, Status
from shared.jobs.record import NewJob, Outcome
from shared.jobs.store import JobStore
from shared.jobs.workers import SILENT_S, LiveWorker, ServedModel, WorkerState
from tests.shared.conftest import claimed, redis_time

STARTER = ServedModel("starter", "e" * 64, 128, "Apache-2.0", "fp32", "torch", 12.5)
BIG = replace(STARTER, name="big", size_px=512, ms_per_face=None)


def fall_silent(redis: Redis, worker: str) -> None:
    silent = redis_time(redis) - SILENT_S
    redis.zadd("fm:workers", {worker: silent})
    redis.zadd("fm:workers:hosts", {worker.rpartition("-")[0]: silent})


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
    assert redis.hgetall("fm:models:workers") == {"big": "1"}


def test_a_model_is_served_until_its_last_worker_is_gone(store: JobStore) -> None:
    for worker in ("a-1", "b-1", "b-1"):
        store.workers.announce(worker, [STARTER])
    store.workers.forget("a-1")
    store.workers.forget("a-1")
    assert store.workers.served_models() == [STARTER]
    store.workers.forget("b-1")
    assert store.workers.served_models() == []


def test_a_worker_that_changes_its_models_serves_only_the_new_ones(store: JobStore) -> None:
    store.workers.announce("a-1", [STARTER])
    store.workers.announce("a-1", [BIG])
    assert store.workers.served_models() == [BIG]


def test_the_summary_of_models_equals_a_recount(store: JobStore, redis: Redis) -> None:
    """Any order of announcements, changes and losses: seeded, so it can be repeated."""
    draw = Random(5)
    models = [
        replace(STARTER, name=name, ms_per_face=ms) for name in "xyz" for ms in (None, 4.0, 8.0)
    ]
    for _ in range(300):
        worker = f"host-{draw.randrange(6)}"
        match draw.randrange(4):
            case 0:
                store.workers.forget(worker)
            case 1:
                fall_silent(redis, worker)
            case _:
                names = draw.sample("xyz", draw.randrange(4))
                store.workers.announce(
                    worker, [draw.choice([m for m in models if m.name == name]) for name in names]
                )
    store.workers.names()  # removes the silent ones
    served = [m for said in redis.hvals("fm:workers:models") for m in json.loads(said)]
    speeds = {
        name: sum(1000 / m["ms_per_face"] for m in served if m["name"] == name and m["ms_per_face"])
        for name in {m["name"] for m in served}
    }
    assert {m.name for m in store.workers.served_models()} == set(speeds)
    assert {
        name: float(redis.hget("fm:models:faces_per_s", name) or 0) for name in speeds
    } == pytest.approx(speeds)


def test_a_host_is_alive_while_one_of_its_workers_reports(store: JobStore, redis: Redis) -> None:
    store.workers.announce("gpu-box-17", [STARTER])
    assert store.workers.alive("gpu-box")
    assert not store.workers.alive("gpu")
    fall_silent(redis, "gpu-box-17")
    assert not store.workers.alive("gpu-box")


def test_unknown_fields_of_a_newer_worker_are_ignored(store: JobStore, redis: Redis) -> None:
    store.workers.announce("a-1", [STARTER])
    said = redis.hget("fm:models:latest", "starter")
    redis.hset("fm:models:latest", "starter", said.replace("{", '{"colour":"blue",'))
    assert store.workers.served_models() == [STARTER]


# --- estimates of the wait -----------------------------------------------------------------------


def succeed(store: JobStore, new: NewJob, faces: int, busy_ms: int = 0) -> None:
    claim = claimed(store, new)
    result = {"faces": [{"status": "restored"}] * faces, "image": {"key": "k"}}
    stages = {"detect": busy_ms // 2, "paste": busy_ms // 2}
    timings_ms = {"queue": 10**6, "fetch": 10**6, **stages, "total": 10**7}
    outcome = Outcome(Status.SUCCEEDED, result=result, timings_ms=timings_ms)
    assert store.runs.finish(new.id, claim.token, outcome)


def waits(store: JobStore, jobs: Sequence[Job]) -> list[float | None]:
    return [store.get("acme", job.id).queue_eta_s for job in jobs]


def why_unknown(store: JobStore, job: Job) -> str | None:
    found = store.get("acme", job.id)
    assert found.queue_eta_s is None
    return found.queue_eta_reason


def test_the_wait_is_the_faces_ahead_by_the_speed_of_all_workers(
    store: JobStore, new_job: Callable[..., NewJob]
) -> None:
    for faces in (2, 6):
        succeed(store, new_job(), faces)
    jobs = [store.create(new_job()) for _ in range(4)]
    store.workers.announce("a-1", [replace(STARTER, ms_per_face=1000.0)])
    store.workers.announce("b-1", [replace(STARTER, ms_per_face=500.0), BIG])
    assert waits(store, jobs) == [0.0, 1.3, 2.7, 4.0]  # four faces a job, three a second


def test_jobs_that_need_longer_than_their_faces_wait_for_the_places_of_all_workers(
    store: JobStore, new_job: Callable[..., NewJob]
) -> None:
    for busy_ms in (2000, 4000):
        succeed(store, new_job(), 0, busy_ms)
    jobs = [store.create(new_job()) for _ in range(3)]
    store.workers.announce("a-1", [STARTER], places=4)
    store.workers.announce("b-1", [STARTER, BIG], places=2)
    assert waits(store, jobs) == [0.0, 0.5, 1.0]  # three seconds a job, six places


def test_without_a_live_worker_of_the_model_the_wait_is_unknown(
    store: JobStore, new_job: Callable[..., NewJob]
) -> None:
    succeed(store, new_job(), 1)
    job = store.create(new_job())
    assert why_unknown(store, job) == "no-worker"
    store.workers.announce("b-1", [BIG])
    assert why_unknown(store, job) == "no-worker"


def test_before_a_job_of_the_model_has_succeeded_the_wait_is_unknown(
    store: JobStore, new_job: Callable[..., NewJob]
) -> None:
    store.workers.announce("a-1", [STARTER, BIG])
    assert why_unknown(store, store.create(new_job())) == "not-measured"
    succeed(store, new_job(model="big"), 1)
    big = store.get("acme", store.create(new_job(model="big")).id)
    assert (big.queue_eta_s, big.queue_eta_reason) == (0.0, None)


def test_the_mean_of_the_work_forgets_old_jobs(
    store: JobStore, new_job: Callable[..., NewJob], redis: Redis
) -> None:
    redis.hset("fm:work:starter", mapping={"jobs": 999, "faces": 1999, "busy_ms": 3000})
    succeed(store, new_job(), 1, 100)
    sums = {"jobs": "500", "faces": "1000", "busy_ms": "1550"}
    assert redis.hgetall("fm:work:starter") == sums


def test_live_workers_are_listed_with_models_and_state(store: JobStore, redis: Redis) -> None:
    state = WorkerState("cuda:0", 4, 3, 16, 1, faces_per_s=9.5, busy=0.9, memory_bytes=7)
    store.workers.announce("b-1", [STARTER, BIG], 4, state)
    store.workers.announce("a-1", [STARTER])  # of a version without a state
    store.workers.announce("c-1", [STARTER], 4, state)
    fall_silent(redis, "c-1")
    assert store.workers.live() == [
        LiveWorker("a-1", (STARTER,), None),
        LiveWorker("b-1", (STARTER, BIG), state),
    ]
