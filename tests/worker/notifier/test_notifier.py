from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from prometheus_client import REGISTRY
from redis import Redis

from shared.jobs.job import Priority, Status, new_id
from shared.jobs.queues import QueueName
from shared.jobs.store import JobStore
from shared.net.fetcher import Fetcher
from shared.queue.celery_queue import Doorbell, make_celery
from shared.redis.scripts import Scripts
from shared.settings import PRIVATE_ADDRESSES, Settings
from shared.storage.bucket import ObjectStorage
from shared.storage.keys import manifest_key
from shared.tenants.api_keys import KeyRing
from shared.webhooks.outbox import Outbox
from tests.jobs import MODEL, TENANT, end_job, new_job, only_delivery, queue_job
from tests.origin import Origin, headers, http
from tests.waiting import eventually
from worker.notifier.delivery_scheduler import FULL
from worker.notifier.notifier import BATCH, Notifier

Build = Callable[..., Notifier]


@pytest.fixture(scope="module")
def fetchers() -> dict[str, Fetcher]:
    return {allowed: Fetcher(allow_private=allowed) for allowed in PRIVATE_ADDRESSES}


@pytest.fixture
def build(
    settings: Settings,
    redis: Redis,
    scripts: Scripts,
    storage: ObjectStorage,
    fetchers: dict[str, Fetcher],
) -> Iterator[Build]:
    """Makes notifiers with other settings."""
    built = []

    def build(other_storage: ObjectStorage | None = None, **changed: Any) -> Notifier:
        used = settings.model_copy(update=changed)
        built.append(
            Notifier(
                store=JobStore(scripts, used),
                outbox=Outbox(scripts),
                storage=other_storage or storage,
                keys=KeyRing(scripts, used.api_key_pepper),
                doorbell=Doorbell(make_celery(used, role="notifier")),
                fetcher=fetchers[used.allow_private_addresses],
                settings=used,
            )
        )
        return built[-1]

    yield build
    for notifier in built:
        notifier.close()


@pytest.fixture
def notifier(build: Build) -> Notifier:
    return build()


# --- deliveries ---


def test_a_stuck_receiver_does_not_delay_others_and_gets_one_connection(
    store: JobStore, outbox: Outbox, notifier: Notifier, receiver: Origin
) -> None:
    stuck, free = Origin(), threading.Event()

    def answer_when_free() -> Iterator[bytes]:
        free.wait(10)
        yield http("200 OK")

    stuck.answers["/hook"] = answer_when_free
    for _ in range(5):
        end_job(store, stuck.url("/hook"))
    healthy = [end_job(store, receiver.url("/hook")) for _ in range(5)]
    assert notifier.tick_deliveries() == 10
    eventually(lambda: all(only_delivery(outbox, job)["state"] == "delivered" for job in healthy))
    assert len(stuck.requests) == 1
    free.set()
    notifier.close()
    stuck.close()


def test_many_deliveries_for_one_receiver_are_sent_without_a_pause(
    store: JobStore, outbox: Outbox, notifier: Notifier, receiver: Origin
) -> None:
    jobs = [end_job(store, receiver.url("/hook")) for _ in range(3 * FULL)]

    def done() -> bool:
        notifier.tick_deliveries()
        return store.counts()["deliveries_pending"] == 0

    eventually(done)
    assert {only_delivery(outbox, job)["state"] for job in jobs} == {"delivered"}
    assert len({headers(request)["webhook-id"] for request in receiver.requests}) == len(jobs)


# --- dispatch and reaping ---


def test_a_waiting_job_gets_one_doorbell_and_no_second_one_at_once(
    store: JobStore, notifier: Notifier, redis: Redis
) -> None:
    job_id = queue_job(store)
    assert notifier.tick_dispatch() == 0  # its creation has sent a doorbell already
    redis.zadd(f"fm:due:normal:{MODEL}", {job_id: 0})
    assert notifier.tick_dispatch() == 1
    assert notifier.tick_dispatch() == 0
    (message,) = redis.lrange(QueueName(MODEL, Priority.NORMAL).doorbells, 0, -1)
    assert job_id in json.dumps(json.loads(message)["headers"])


def test_one_round_sends_doorbells_for_more_jobs_than_one_batch(
    store: JobStore, notifier: Notifier, redis: Redis
) -> None:
    redis.zadd(f"fm:due:normal:{MODEL}", {queue_job(store): 0 for _ in range(BATCH + 1)})
    assert notifier.tick_dispatch() == BATCH + 1
    assert redis.llen(QueueName(MODEL, Priority.NORMAL).doorbells) == BATCH + 1


def test_the_job_of_a_dead_worker_is_queued_again(
    store: JobStore, redis: Redis, settings: Settings, notifier: Notifier
) -> None:
    brief = settings.model_copy(update={"lease_s": 0.05})
    job_id = queue_job(store)
    assert JobStore(Scripts(redis), brief).runs.claim(job_id, "worker-1")
    eventually(lambda: notifier.tick_reap() == [(job_id, Status.QUEUED)])
    assert store.get(TENANT, job_id).status is Status.QUEUED
    assert notifier.tick_dispatch() == 1


def test_a_starting_notifier_waits_one_lease_before_it_takes_jobs_from_workers(
    store: JobStore, redis: Redis, settings: Settings, build: Build
) -> None:
    job_id = queue_job(store)
    assert JobStore(Scripts(redis), settings.model_copy(update={"lease_s": 0.01})).runs.claim(
        job_id, "worker-1"
    )
    for lease_s, after in [(60, Status.RUNNING), (0.1, Status.QUEUED)]:
        stop = threading.Event()
        patient = build(lease_s=lease_s)
        running = threading.Thread(target=patient.run, args=[stop])
        running.start()
        if after is Status.QUEUED:
            eventually(lambda: store.get(TENANT, job_id).status is Status.QUEUED)
        else:
            time.sleep(1.5)  # one whole round of all duties
        stop.set()
        running.join()
        assert store.get(TENANT, job_id).status is after


# --- sweeps ---


def test_one_notifier_sweeps_and_another_takes_over(
    storage: ObjectStorage, build: Build, redis: Redis
) -> None:
    first, second = build(), build()
    first.sweep_manifests()
    orphan = manifest_key(TENANT, new_id("job"), 1)
    storage.put(orphan, b"{}", "application/json")
    redis.set(f"fm:gone:{orphan.split('/')[-1].split('.')[0]}", 1)  # it was erased
    assert second.sweep_manifests() == 0
    assert second.sweep_objects() == 0
    first.close()
    assert second.sweep_manifests() == 1


# --- gauges ---


def test_the_gauges_are_exported_while_the_notifier_runs(store: JobStore, build: Build) -> None:
    queue_job(store)
    stop = threading.Event()
    thread = threading.Thread(target=build().run, args=[stop])
    thread.start()
    labels = {"model": MODEL, "pool": "default", "priority": "normal"}
    eventually(lambda: REGISTRY.get_sample_value("facemend_jobs_queued", labels) == 1)
    stop.set()
    thread.join()
    assert REGISTRY.get_sample_value("facemend_jobs_queued", labels) is None


def test_the_line_about_a_reaped_job_names_its_tenant_and_request(
    store: JobStore, redis: Redis, notifier: Notifier, log_lines: Any
) -> None:
    job = store.create(new_job(request_id="req_1"))
    store.runs.claim(job.id, "worker-1")
    redis.zadd("fm:leases", {job.id: 0})
    notifier.tick_reap()
    (line,) = [line for line in log_lines() if line["event"].startswith("reaped")]
    assert (line["job_id"], line["tenant"], line["request_id"]) == (job.id, TENANT, "req_1")
