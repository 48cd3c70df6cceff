"""What a worker and a notifier do, in order: the stories of ``tests/shared/model`` kill them."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

from redis import Redis

from shared.jobs.job import Job
from shared.jobs.store import JobStore
from shared.net.fetcher import Fetcher
from shared.queue.celery_queue import Doorbell, make_celery
from shared.settings import Settings
from shared.storage.bucket import ObjectStorage
from shared.storage.keys import input_key
from shared.tenants.api_keys import KeyRing
from tests.jobs import TENANT, finish
from tests.shared.model.caller import Orders
from tests.shared.model.steps import Watched, WatchedStorage
from worker.jobs.runner import Worker
from worker.notifier.notifier import Notifier


def test_a_result_is_stored_and_sealed_before_it_is_told_and_the_promise_goes_last(
    worker: Worker, submit: Callable[..., Job]
) -> None:
    job, steps = submit(), list[str]()
    watched = dataclasses.replace(
        worker,
        store=Watched(worker.store, steps),
        pipeline=dataclasses.replace(
            worker.pipeline,
            storage=WatchedStorage(worker.pipeline.storage, steps),
            engine=Watched(worker.pipeline.engine, steps, {"restore": "restore"}),
        ),
    )
    watched.restore(job.id)
    # "enter" is the wait for a place in the engine.
    assert tuple(steps) == tuple(step for step in Orders().run if step != "enter")


def test_what_is_expired_loses_its_objects_first_so_that_a_record_says_what_is_left(
    redis: Redis, store: JobStore, storage: ObjectStorage, settings: Settings
) -> None:
    job_id, steps = finish(store), list[str]()
    storage.put(input_key(TENANT, job_id), b"photo", "image/png")
    redis.zadd("fm:expiry", {job_id: 0})
    notifier = Notifier(
        store=Watched(store, steps),
        storage=WatchedStorage(storage, steps),
        keys=KeyRing(redis, settings.api_key_pepper),
        doorbell=Doorbell(make_celery(settings, role="notifier")),
        fetcher=Fetcher(allow_private=True),
        settings=settings,
    )
    try:
        assert notifier.tick_expiry() == 1
    finally:
        notifier.close()
    assert tuple(steps) == Orders().expiry
