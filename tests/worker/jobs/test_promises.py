"""The manifest of a job and the seal of its run, as a worker leaves them."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace

import pytest
from redis import Redis

from shared.errors import CorruptImage, InputTimeout, Unavailable
from shared.jobs.job import Job, Status
from shared.jobs.recovery import Revival
from shared.jobs.store import JobStore
from shared.manifests.manifests import Manifests
from shared.storage.bucket import ObjectStorage
from shared.storage.keys import manifest_key
from tests.jobs import promise
from tests.worker.scripted import ScriptedRestorer
from worker.jobs.runner import Worker
from worker.notifier.rebuilder import Rebuilder

Submit = Callable[..., Job]


@pytest.fixture
def promised(submit: Submit, storage: ObjectStorage) -> Callable[[], Job]:
    """A job with its manifest, as the API leaves it."""

    def promised() -> Job:
        job = submit()
        promise(storage, job)
        return job

    return promised


def promises(storage: ObjectStorage) -> list[str]:
    return [promise.job_id for promise in Manifests(storage).all()]


def test_a_promise_is_kept_until_the_job_has_succeeded(
    worker: Worker,
    promised: Callable[[], Job],
    storage: ObjectStorage,
    store: JobStore,
    restorer: ScriptedRestorer,
) -> None:
    job, seen = promised(), list[str]()
    restorer.during = lambda: seen.extend(promises(storage))
    worker.restore(job.id)
    assert seen == [job.id]
    assert store.get(job.tenant, job.id).status is Status.SUCCEEDED
    assert promises(storage) == []


def test_a_failed_job_is_promised_no_longer_and_nothing_is_sealed(
    worker: Worker, promised: Callable[[], Job], storage: ObjectStorage, restorer: ScriptedRestorer
) -> None:
    def fail() -> None:
        raise CorruptImage

    restorer.during = fail
    job = promised()
    worker.restore(job.id)
    assert promises(storage) == []
    assert Manifests(storage).sealed(job.tenant, job.id) is None


def test_a_job_that_goes_back_to_the_queue_stays_promised(
    worker: Worker, promised: Callable[[], Job], storage: ObjectStorage, restorer: ScriptedRestorer
) -> None:
    def fail() -> None:
        raise InputTimeout

    restorer.during = fail
    job = promised()
    worker.restore(job.id)
    assert promises(storage) == [job.id]


def test_a_success_is_sealed_before_the_record_knows_of_it(
    worker: Worker,
    promised: Callable[[], Job],
    storage: ObjectStorage,
    store: JobStore,
    redis: Redis,
) -> None:
    """So a worker that dies between the two, and Redis with it, costs no second run."""
    job = promised()
    key = manifest_key(job.tenant, job.id, 1)
    manifest = storage.get(key, max_bytes=100_000)
    worker.restore(job.id)
    done = store.get(job.tenant, job.id)
    assert done.result is not None

    redis.flushdb()
    storage.put(key, manifest, "application/json")  # which the dead worker had not removed
    assert Rebuilder(store, storage).all() == {Revival.SUCCEEDED: 1}
    again = store.get(job.tenant, job.id)
    assert (again.status, again.result) == (Status.SUCCEEDED, done.result)
    assert again.timings_ms == done.timings_ms
    assert storage.get(again.result["image"]["key"], max_bytes=1_000_000)
    assert store.claim(job.id, "another") is None
    assert promises(storage) == []


class Unsealable(ObjectStorage):
    """Takes pictures, and then no more."""

    def __init__(self, real: ObjectStorage) -> None:
        self.__dict__ |= real.__dict__

    def put(self, key: str, *args: object, **more: object) -> object:  # type: ignore[override]
        if key.endswith("/outcome.json"):
            raise Unavailable("The object storage does not answer")
        return super().put(key, *args, **more)  # type: ignore[arg-type]


def test_a_success_that_cannot_be_sealed_is_tried_again(
    worker: Worker, promised: Callable[[], Job], storage: ObjectStorage, store: JobStore
) -> None:
    job = promised()
    worker = replace(worker, pipeline=replace(worker.pipeline, storage=Unsealable(storage)))
    worker.restore(job.id)
    assert store.get(job.tenant, job.id).status is Status.QUEUED
    assert promises(storage) == [job.id]


class Undeletable(ObjectStorage):
    def __init__(self, real: ObjectStorage) -> None:
        self.__dict__ |= real.__dict__

    def delete(self, keys: object) -> None:
        raise Unavailable("The object storage does not answer")


def test_a_job_ends_even_if_its_promise_cannot_be_taken_back_now(
    worker: Worker,
    promised: Callable[[], Job],
    storage: ObjectStorage,
    store: JobStore,
    caplog: pytest.LogCaptureFixture,
) -> None:
    job = promised()
    worker = replace(worker, pipeline=replace(worker.pipeline, storage=Undeletable(storage)))
    with caplog.at_level(logging.WARNING):
        worker.restore(job.id)
    assert store.get(job.tenant, job.id).status is Status.SUCCEEDED
    assert "manifest not removed yet" in caplog.text
    assert promises(storage) == [job.id]
