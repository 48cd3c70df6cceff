"""The result cache: an equal job gets a copy of a result, or waits for the job that runs."""

from __future__ import annotations

import dataclasses
import hashlib
import threading
from collections.abc import Callable
from typing import Any

import pytest
from prometheus_client import REGISTRY
from redis import Redis

from shared.contract.rendering import represent
from shared.errors import CorruptImage, Unavailable
from shared.jobs.job import Job, Status
from shared.jobs.recovery import RecoveryResult
from shared.jobs.store import JobStore
from shared.provenance.signing_keys import PublicKeys, SigningKey
from shared.provenance.statement import read_manifest
from shared.storage.bucket import ObjectStorage
from shared.storage.keys import manifest_key, results_prefix
from shared.webhooks.outbox import Outbox
from tests.jobs import TENANT, write_manifest
from tests.origin import Origin, http
from tests.worker.scripted import MODEL, SERVED, ScriptedRestorer
from worker.jobs.pipeline import Pipeline
from worker.jobs.result_cache import ResultCache
from worker.jobs.runner import JobRunner
from worker.notifier.rebuilder import Rebuilder

Submit = Callable[..., Job]
KEY = SigningKey(b"1" * 32)


@pytest.fixture
def pipeline(pipeline: Pipeline, store: JobStore) -> Pipeline:
    cache = ResultCache(store.runs, lambda: [SERVED])
    return dataclasses.replace(pipeline, cache=cache, signing_key=KEY)


@pytest.fixture
def run(worker: JobRunner, store: JobStore) -> Callable[[Job], Job]:
    """Ring the doorbell of a job, and return the job as it is then."""

    def run(job: Job) -> Job:
        worker.restore(job.id)
        return store.get(job.tenant, job.id)

    return run


@pytest.fixture
def counted() -> Callable[[str], float]:
    """How many lookups had an outcome since the test began."""

    def read(outcome: str) -> float:
        labels = {"model": MODEL, "outcome": outcome}
        return REGISTRY.get_sample_value("facemend_cache_lookups_total", labels) or 0.0

    before = {outcome: read(outcome) for outcome in ("hit", "miss", "wait")}
    return lambda outcome: read(outcome) - before[outcome]


def result_of(job: Job) -> dict[str, Any]:
    assert job.status is Status.SUCCEEDED
    assert job.result is not None
    return job.result


def picture(storage: ObjectStorage, job: Job) -> bytes:
    return storage.get(result_of(job)["image"]["key"], max_bytes=10**6)


# --- a result that is there -----------------------------------------------------------------


def test_an_equal_job_gets_the_result_without_a_run(
    submit: Submit,
    run: Callable[[Job], Job],
    storage: ObjectStorage,
    restorer: ScriptedRestorer,
    counted: Callable[[str], float],
) -> None:
    first, second = run(submit()), run(submit())
    assert len(restorer.photos) == 1
    assert (first.cached, second.cached) == (False, True)
    assert picture(storage, second) == picture(storage, first)
    assert second.warnings == first.warnings == ("odd light",)
    assert (counted("miss"), counted("hit"), counted("wait")) == (1, 1, 0)


def test_clients_see_that_a_result_is_a_copy(
    submit: Submit, run: Callable[[Job], Job], storage: ObjectStorage
) -> None:
    jobs = [run(submit()), run(submit())]
    assert [represent(job, storage).cached for job in jobs] == [False, True]


def test_a_copy_has_all_objects_of_the_result_under_its_own_keys(
    submit: Submit, run: Callable[[Job], Job], storage: ObjectStorage
) -> None:
    output = {"comparison": True, "face_crops": True}
    first, second = run(submit(output=output)), run(submit(output=output))
    own = results_prefix(TENANT, second.id)
    result = result_of(second)
    keys = {
        result["image"]["key"],
        result["comparison"]["key"],
        *result["faces"][0]["crop"].values(),
        result["manifest"]["key"],
    }
    stored = {found.key: found for found in storage.list(own)}
    assert keys == {key for key in stored if not key.endswith("/outcome.json")}
    assert results_prefix(TENANT, first.id) not in str(result)
    for key in keys:
        assert storage.head(key).content_type.startswith(("image/", "application/json"))


def test_the_manifest_of_a_copy_is_of_the_new_job(
    submit: Submit, run: Callable[[Job], Job], storage: ObjectStorage, png: bytes
) -> None:
    run(submit())
    second = run(submit())
    data = storage.get(result_of(second)["manifest"]["key"], max_bytes=10**6)
    statement = read_manifest(data, PublicKeys([KEY.public]))
    assert (statement["job_id"], statement["cached"]) == (second.id, True)
    assert statement["input"]["sha256"] == hashlib.sha256(png).hexdigest()
    assert statement["output"]["sha256"] == hashlib.sha256(picture(storage, second)).hexdigest()


def test_a_copy_has_its_events_and_its_webhook(
    submit: Submit, run: Callable[[Job], Job], outbox: Outbox
) -> None:
    wanted = ["restoration.started", "restoration.succeeded"]
    hook = {"url": "http://127.0.0.1:9/", "events": wanted}
    run(submit(webhook=hook))
    second = run(submit(webhook=hook))
    events = [delivery["event"] for delivery in outbox.of_job(TENANT, second.id)]
    assert events == wanted


@pytest.mark.parametrize("erased", [0, 1])
def test_erasing_one_of_two_equal_jobs_leaves_the_result_of_the_other(
    submit: Submit,
    run: Callable[[Job], Job],
    storage: ObjectStorage,
    store: JobStore,
    erased: int,
) -> None:
    jobs = [run(submit()), run(submit())]
    keys = [found.key for found in storage.list(results_prefix(TENANT, jobs[erased].id))]
    storage.delete(keys)
    store.erase(TENANT, jobs[erased].id)
    other = store.get(TENANT, jobs[1 - erased].id)
    digest = hashlib.sha256(picture(storage, other)).hexdigest()
    assert digest == result_of(other)["image"]["sha256"]


@pytest.mark.parametrize("gone", ["restored.png", "comparison.jpeg"])
def test_a_job_runs_itself_if_an_object_of_the_result_is_gone(
    submit: Submit,
    run: Callable[[Job], Job],
    storage: ObjectStorage,
    counted: Callable[[str], float],
    gone: str,
) -> None:
    """The sweeper or an erasure deletes objects before the record."""
    first = run(submit(output={"comparison": True}))
    prefix = results_prefix(TENANT, first.id)
    storage.delete([found.key for found in storage.list(prefix) if found.key.endswith(gone)])
    second = run(submit(output={"comparison": True}))
    assert second.cached is False
    assert counted("miss") == 2
    assert run(submit(output={"comparison": True})).cached


def test_a_result_of_other_weights_is_no_result_of_an_equal_job(
    submit: Submit, worker: JobRunner, store: JobStore, counted: Callable[[str], float]
) -> None:
    """The file of the model was replaced after the first job was looked up, and before its run."""
    announced = [dataclasses.replace(SERVED, sha256="f" * 64)]
    cache = ResultCache(store.runs, lambda: announced)
    worker = dataclasses.replace(worker, pipeline=dataclasses.replace(worker.pipeline, cache=cache))

    def run(job: Job) -> Job:
        worker.restore(job.id)
        return store.get(job.tenant, job.id)

    jobs = [run(submit()), run(submit())]
    assert [result_of(job)["model"]["sha256"] for job in jobs] == ["0" * 64] * 2
    assert [job.cached for job in jobs] == [False, False]
    announced[0] = SERVED
    assert [run(submit()).cached, run(submit()).cached] == [False, True]
    assert (counted("miss"), counted("hit")) == (3, 1)


def test_a_job_runs_itself_if_the_storage_copies_nothing(
    submit: Submit, worker: JobRunner, store: JobStore, storage: ObjectStorage
) -> None:
    class WithoutCopy(ObjectStorage):
        def __init__(self) -> None:
            self.__dict__ |= storage.__dict__

        def copy(self, key: str, to: str, *, etag: str | None = None) -> None:
            raise Unavailable("not implemented")

    worker = dataclasses.replace(
        worker, pipeline=dataclasses.replace(worker.pipeline, storage=WithoutCopy())
    )
    for job in (submit(), submit()):
        worker.restore(job.id)
        done = store.get(job.tenant, job.id)
        assert (done.status, done.cached) == (Status.SUCCEEDED, False)


def test_a_job_runs_itself_while_redis_does_not_answer_the_lookup(
    submit: Submit, worker: JobRunner, store: JobStore
) -> None:
    class Away:
        def find_equal(self, *_: object, **__: object) -> None:
            raise Unavailable("Redis does not respond")

    cache = ResultCache(Away(), lambda: [SERVED])  # type: ignore[arg-type]
    worker = dataclasses.replace(worker, pipeline=dataclasses.replace(worker.pipeline, cache=cache))
    for job in (submit(), submit()):
        worker.restore(job.id)
        assert store.get(job.tenant, job.id).cached is False


@pytest.mark.parametrize(
    "other",
    [{"options": {"strength": 0.5}}, {"output": {"format": "webp"}}],
    ids=["options", "output"],
)
def test_a_job_that_is_not_equal_runs(
    submit: Submit,
    run: Callable[[Job], Job],
    restorer: ScriptedRestorer,
    other: dict[str, Any],
) -> None:
    run(submit())
    assert run(submit(**other)).cached is False
    assert len(restorer.photos) == 2


def test_a_failed_job_is_no_result(
    submit: Submit, run: Callable[[Job], Job], restorer: ScriptedRestorer
) -> None:
    def fail() -> None:
        raise CorruptImage

    restorer.during = fail
    assert run(submit()).status is Status.FAILED
    restorer.during = lambda: None
    assert run(submit()).cached is False


def test_a_copy_is_also_stored_under_the_key_of_the_tenant(
    submit: Submit, run: Callable[[Job], Job], storage: ObjectStorage
) -> None:
    run(submit())
    second = run(submit(output={"key": "out/a.png"}))
    assert second.cached
    assert storage.get("tenants/acme/files/out/a.png", max_bytes=10**6) == picture(storage, second)


def test_without_the_cache_each_job_runs(
    submit: Submit, worker: JobRunner, store: JobStore, restorer: ScriptedRestorer, redis: Redis
) -> None:
    worker = dataclasses.replace(worker, pipeline=dataclasses.replace(worker.pipeline, cache=None))
    for job in (submit(), submit()):
        worker.restore(job.id)
        assert store.get(job.tenant, job.id).cached is False
    assert len(restorer.photos) == 2
    assert redis.keys("fm:result:*") == []


def test_a_copy_that_redis_lost_is_restored_as_it_was(
    submit: Submit,
    run: Callable[[Job], Job],
    storage: ObjectStorage,
    store: JobStore,
    redis: Redis,
) -> None:
    run(submit())
    job = submit()
    write_manifest(storage, job)
    manifest = storage.get(manifest_key(TENANT, job.id, 1), max_bytes=10**5)
    done = run(job)
    redis.flushdb()
    storage.put(manifest_key(TENANT, job.id, 1), manifest, "application/json")
    assert Rebuilder(store, storage).restore_all() == {RecoveryResult.SUCCEEDED: 1}
    again = store.get(TENANT, job.id)
    assert (again.result, again.cached) == (done.result, True)


# --- equal jobs at the same time ------------------------------------------------------------


def test_equal_jobs_at_the_same_time_run_once(
    submit: Submit,
    worker: JobRunner,
    store: JobStore,
    restorer: ScriptedRestorer,
    counted: Callable[[str], float],
) -> None:
    first, second = submit(), submit()
    seen: list[tuple[Status, int]] = []

    def another() -> None:
        worker.restore(second.id)  # by another thread of the worker
        seen.append((store.get(TENANT, second.id).status, worker.device.in_use))

    def during() -> None:
        thread = threading.Thread(target=another)
        thread.start()
        thread.join()

    restorer.during = during
    worker.restore(first.id)
    assert seen == [(Status.QUEUED, 1)]  # it waits, and has given its place back
    assert [job.id for job in store.runs.due()] == [second.id]
    worker.restore(second.id)
    done = store.get(TENANT, second.id)
    assert (done.status, done.cached, done.attempt) == (Status.SUCCEEDED, True, 2)
    assert len(restorer.photos) == 1
    assert (counted("miss"), counted("wait"), counted("hit")) == (1, 1, 1)


def test_a_photo_at_a_url_is_fetched_once_though_its_job_waits(
    submit: Submit,
    worker: JobRunner,
    restorer: ScriptedRestorer,
    receiver: Origin,
    png: bytes,
) -> None:
    store = worker.store
    receiver.answers["/a.png"] = http("200 OK", png)
    first, second = submit(), submit(source={"url": receiver.url("/a.png")})

    def during() -> None:
        worker.restore(second.id)
        wait_for_remote_jobs()

    restorer.during = during
    worker.restore(first.id)
    assert store.get(TENANT, second.id).status is Status.QUEUED
    assert worker.fetches.in_use == 0
    assert [job.id for job in store.runs.due()] == [second.id]
    worker.restore(second.id)
    wait_for_remote_jobs()
    assert store.get(TENANT, second.id).cached
    assert len(receiver.requests) == 1


def wait_for_remote_jobs() -> None:
    """Wait for the threads of jobs whose photos are at URLs."""
    for thread in threading.enumerate():
        if thread.name == "remote-job" and thread is not threading.current_thread():
            thread.join(60)
