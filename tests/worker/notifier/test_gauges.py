"""The gauges of the service, compared with a recount of the records in Redis."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from collections.abc import Callable

import pytest
from prometheus_client import CollectorRegistry
from redis import Redis

from shared.errors import Unavailable
from shared.jobs.job import Priority, Status
from shared.jobs.record import Outcome
from shared.jobs.store import JobStore
from shared.jobs.workers import ServedModel, WorkerState
from shared.redis.scripts import Scripts
from shared.settings import Settings
from tests.jobs import new_job
from worker.notifier.gauges import ServiceGauges

HOOK = {"url": "http://127.0.0.1:9/hook", "events": ["restoration.succeeded"]}
LEASE_S = 600.0  # no lease ends by itself in these tests

Metrics = Counter[str]
#: The gauges that a recount of the records can check.
COUNTS = {"facemend_jobs_queued", "facemend_jobs_running", "facemend_deliveries_pending"}


class Target:
    """A notifier as Prometheus sees it."""

    def __init__(self, store: JobStore, settings: Settings) -> None:
        self.gauges = ServiceGauges(store, settings, lease_s=LEASE_S)
        self._registry = CollectorRegistry()
        self._registry.register(self.gauges)

    def scrape(self) -> Metrics:
        """Refresh and return the sum of each metric, and each queue of ``facemend_jobs_queued``."""
        self.gauges.refresh()
        return self.exported()

    def exported(self) -> Metrics:
        found: Metrics = Counter()
        for metric in self._registry.collect():
            if metric.name not in COUNTS:
                continue
            for sample in metric.samples:
                found[sample.name] += int(sample.value)
                if sample.labels:
                    labels = sample.labels
                    found[f"{labels['model']}.{labels['priority']}"] += int(sample.value)
        return found


def recount(redis: Redis) -> Metrics:
    """Count from the records alone, not from the indexes that the gauges use."""
    found: Metrics = Counter()
    for key in redis.scan_iter("fm:job:*", _type="hash"):
        job = redis.hgetall(key)
        if job["status"] == Status.QUEUED:
            found["facemend_jobs_queued"] += 1
            found[f"{job['model']}.{job['priority']}"] += 1
        found["facemend_jobs_running"] += job["status"] == Status.RUNNING
    for key in redis.scan_iter("fm:delivery:*", _type="hash"):
        found["facemend_deliveries_pending"] += redis.hget(key, "state") == "pending"
    return found


@pytest.fixture
def target(store: JobStore, settings: Settings) -> Callable[[], Target]:
    return lambda: Target(store, settings)


def without_zeros(metrics: Metrics) -> dict[str, int]:
    return {name: value for name, value in metrics.items() if value}


def test_every_gauge_equals_a_recount_at_each_step_of_a_day(
    store: JobStore, redis: Redis, target: Callable[[], Target]
) -> None:
    notifiers = [target(), target()]

    def compare() -> Metrics:
        total: Metrics = Counter()
        for notifier in notifiers:
            total.update(notifier.scrape())
        assert without_zeros(total) == without_zeros(recount(redis))
        return total

    compare()
    jobs = [  # the queues fill
        store.create(new_job(model=model, priority=priority, webhook=HOOK))
        for model in ("gpen-bfr-512", "v1.5")
        for priority in Priority
        for _ in range(3)
    ]
    assert compare()["facemend_jobs_queued"] == 18
    claims = [claim for job in jobs if (claim := store.runs.claim(job.id, "w"))]  # workers run
    store.runs.due()  # the dispatcher forgets the empty queues
    full = compare()
    assert (full["facemend_jobs_queued"], full["facemend_jobs_running"]) == (0, 18)
    assert full.keys() >= {"gpen-bfr-512.high", "v1.5.low"}  # exported as 0
    for claim in claims[:6]:
        store.runs.finish(claim.job.id, claim.token, Outcome(Status.SUCCEEDED))
    store.cancel("acme", claims[6].job.id)
    assert compare()["facemend_deliveries_pending"] == 6
    for claim in claims[6:]:  # the workers drain: one job was canceled, the others are queued again
        store.runs.release(claim.job.id, claim.token, "drain")
    assert compare()["facemend_jobs_queued"] == 11
    notifiers[0].gauges.close()  # a notifier restarts
    notifiers[0] = target()
    assert compare()["facemend_jobs_running"] == 0
    for job in jobs:
        store.erase("acme", job.id)
    store.runs.due()
    assert without_zeros(compare()) == {}


def test_only_one_notifier_exports_and_another_follows_when_it_stops(
    store: JobStore, target: Callable[[], Target]
) -> None:
    store.create(new_job())
    first, second = target(), target()
    assert first.scrape()["facemend_jobs_queued"] == 1
    assert second.scrape() == {}
    first.gauges.close()
    assert first.exported() == {}
    assert second.scrape()["facemend_jobs_queued"] == 1
    assert first.scrape() == {}


def test_a_notifier_whose_lease_is_over_exports_nothing(
    store: JobStore, settings: Settings, redis: Redis
) -> None:
    gauges = ServiceGauges(store, settings, lease_s=0.001)
    gauges.refresh()
    while redis.exists("fm:leader:export"):
        pass
    assert [*gauges.collect()] == []


def test_without_redis_a_refresh_is_unavailable(settings: Settings) -> None:
    away = Redis(port=9, decode_responses=True)
    gauges = ServiceGauges(JobStore(Scripts(away), settings), settings)
    with pytest.raises(Unavailable):
        gauges.refresh()
    gauges.close()
    assert [*gauges.collect()] == []


def test_served_models_have_queues_of_0_from_the_start(store: JobStore, settings: Settings) -> None:
    used = settings.model_copy(update={"served_models": ("big",), "default_model": "small"})
    exported = Target(store, used).scrape()
    names = {f"{model}.{priority}" for model in ("big", "small") for priority in Priority}
    assert names <= exported.keys()


@pytest.mark.parametrize("module", ["api", "worker.app", "worker.notifier.notifier"])
def test_a_process_that_is_no_notifier_exports_no_gauge_of_the_service(module: str) -> None:
    code = (
        f"import sys, {module}; from prometheus_client import generate_latest;"
        "sys.stdout.write(generate_latest().decode())"
    )
    found = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, check=True, text=True, env=os.environ
    ).stdout
    assert "facemend_swept" in found
    for gauge in ("facemend_jobs_queued", "facemend_jobs_running", "facemend_deliveries_pending"):
        assert gauge not in found


def values(store: JobStore, settings: Settings) -> Callable[..., float | None]:
    """Refresh new gauges; return a function that reads one sample."""
    registry, gauges = CollectorRegistry(), ServiceGauges(store, settings, lease_s=LEASE_S)
    registry.register(gauges)
    gauges.refresh()

    def read(name: str, **labels: str) -> float | None:
        in_pool = {"pool": "default"} if labels else {}
        return registry.get_sample_value(f"facemend_{name}", in_pool | labels)

    return read


def test_the_age_of_the_oldest_job_is_that_of_the_first_that_could_start(
    store: JobStore, settings: Settings, redis: Redis
) -> None:
    late = store.create(new_job(model="m", priority=Priority.LOW))
    store.create(new_job(model="m", priority=Priority.LOW))
    redis.zincrby("fm:queue:low:m", -90, late.id)
    read = values(store, settings)
    assert 90 <= (read("queue_oldest_seconds", model="m", priority="low") or 0) < 100


def test_face_seconds_are_faces_by_the_time_of_a_face_also_without_a_worker(
    store: JobStore, settings: Settings, redis: Redis
) -> None:
    redis.hset("fm:work:m", mapping={"jobs": 2, "faces": 8})
    jobs = [store.create(new_job(model="m")) for _ in range(5)]
    served = ServedModel("m", "e" * 64, 512, "MIT", "fp32", "torch", ms_per_face=250.0)
    store.workers.announce("w-1", [served])
    store.workers.forget("w-1")
    assert store.runs.claim(jobs[0].id, "w-1")
    read = values(store, settings)
    assert read("face_seconds", model="m", state="waiting") == 4 * 4 * 0.25
    assert read("face_seconds", model="m", state="running") == 4 * 0.25
    assert read("workers", model="m") == 0


def test_a_face_counts_as_one_second_until_a_worker_has_measured_it(
    store: JobStore, settings: Settings
) -> None:
    store.create(new_job(model="m"))
    assert values(store, settings)("face_seconds", model="m", state="waiting") == 1


def test_workers_and_their_places_are_summed(store: JobStore, settings: Settings) -> None:
    served = ServedModel("m", "e" * 64, 512, "MIT", "fp32", "torch", None)
    state = WorkerState("cuda:0", 4, 3, 16, 1, faces_per_s=9.5, busy=0.9)
    store.workers.announce("w-1", [served], 4, state)
    store.workers.announce("w-2", [served], 4, state)
    store.workers.announce("w-3", [served])  # of an earlier version
    read = values(store, settings)
    assert read("workers", model="m") == 3
    assert read("worker_places", kind="device") == 8
    assert read("worker_places_in_use", kind="device") == 6
    assert read("worker_places", kind="fetch") == 32
    assert read("worker_places_in_use", kind="fetch") == 2


def test_each_pool_has_gauges_of_its_own(store: JobStore, settings: Settings) -> None:
    served = ServedModel("m", "e" * 64, 512, "MIT", "fp32", "torch", 250.0)
    state = WorkerState("cuda:0", 4, 3, 16, 1, faces_per_s=9.5, busy=0.9)
    store.workers.announce("w-1", [served], 4, state, "gpu")
    store.create(new_job(model="m", pool="gpu"))
    read = values(store, settings)
    assert read("jobs_queued", model="m", pool="gpu", priority="normal") == 1
    assert read("jobs_queued", model="m", priority="normal") is None
    assert read("face_seconds", model="m", pool="gpu", state="waiting") == 0.25
    assert read("workers", model="m", pool="gpu") == 1
    assert read("worker_places", kind="device", pool="gpu") == 4
    assert read("worker_places", kind="device") == 0


def test_a_webhook_that_nobody_sends_is_late(
    store: JobStore, settings: Settings, redis: Redis
) -> None:
    job = store.create(new_job(webhook=HOOK))
    claim = store.runs.claim(job.id, "w")
    assert claim
    store.runs.finish(job.id, claim.token, Outcome(Status.SUCCEEDED))
    (lane,) = redis.zrange("fm:deliveries", 0, -1)
    redis.zincrby("fm:deliveries", -60, lane)
    assert (values(store, settings)("delivery_late_seconds") or 0) >= 60
