"""The steps of a worker and a notifier, in order. ``tests/shared/model`` kills them in between."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

from redis import Redis

from shared.jobs.job import Job
from shared.jobs.store import JobStore
from shared.storage.bucket import ObjectStorage
from shared.storage.keys import input_key
from tests.jobs import TENANT, end_job
from tests.shared.model.caller import StepOrders
from tests.shared.model.watched import Watched, WatchedStorage
from tests.worker.scripted import SERVED
from worker.jobs.result_cache import ResultCache
from worker.jobs.runner import JobRunner
from worker.notifier.expiry import Expiry


def test_a_result_is_stored_and_sealed_before_it_is_told_and_the_promise_goes_last(
    worker: JobRunner, submit: Callable[..., Job]
) -> None:
    job, steps = submit(), list[str]()
    store = Watched(worker.store, steps)
    watched = dataclasses.replace(
        worker,
        store=store,
        pipeline=dataclasses.replace(
            worker.pipeline,
            storage=WatchedStorage(worker.pipeline.storage, steps),
            engine=Watched(worker.pipeline.engine, steps, {"restore": "restore"}),
            cache=ResultCache(store.runs, lambda: [SERVED]),
        ),
    )
    watched.restore(job.id)
    # "enter" is the wait for a place in the engine.
    assert tuple(steps) == tuple(step for step in StepOrders().run if step != "enter")


def test_what_is_expired_loses_its_objects_first_so_that_a_record_says_what_is_left(
    redis: Redis, store: JobStore, storage: ObjectStorage
) -> None:
    job_id, steps = end_job(store), list[str]()
    storage.put(input_key(TENANT, job_id), b"photo", "image/png")
    redis.zadd("fm:expiry", {job_id: 0})
    expiry = Expiry(Watched(store, steps), WatchedStorage(storage, steps))
    assert expiry.erase_expired() == 1
    assert tuple(steps) == StepOrders().expiry
