"""The end of a batch: one event, a manifest and an archive; and what is left after its erasure."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import httpx
import pytest
from redis import Redis

from shared.batches.batch import Batch, BatchState, NewBatch
from shared.batches.store import STEP, BatchStore
from shared.contract.batch_rendering import represent_batch
from shared.contract.batches import BatchManifestLine
from shared.errors import CorruptImage, InvalidRequest, NotFound
from shared.jobs.job import Status, new_id
from shared.jobs.record import NewJob, Outcome
from shared.jobs.recovery import RecoveryResult
from shared.jobs.store import JobStore
from shared.manifests.batches import BatchManifests
from shared.manifests.manifests import Manifests
from shared.redis.keys import redis_key
from shared.storage.bucket import ObjectStorage
from shared.storage.keys import BATCH_MANIFESTS, input_key, result_key
from shared.webhooks.outbox import Delivery, Outbox
from tests.jobs import TENANT, new_job
from worker.notifier.batch_erasure import BatchErasure
from worker.notifier.batch_results import BatchResults
from worker.notifier.rebuilder import Rebuilder
from worker.notifier.sweeper import Sweeper

HOOK = "http://127.0.0.1:9/hook"
Accept = Callable[..., NewBatch]
WRONG = InvalidRequest("1 field is not valid.", [("/input", "this field is needed")]).problem()


@pytest.fixture
def batches(store: JobStore) -> BatchStore:
    return BatchStore.beside(store)


@pytest.fixture
def results(batches: BatchStore, storage: ObjectStorage) -> BatchResults:
    return BatchResults(batches, storage, archives=True)


@pytest.fixture
def erasure(batches: BatchStore, store: JobStore, storage: ObjectStorage) -> BatchErasure:
    return BatchErasure(batches, store, storage)


@pytest.fixture
def accept(batches: BatchStore, storage: ObjectStorage) -> Accept:
    """Accept a batch as the API does: the manifest, the record, the jobs."""

    def accept(*requests: dict[str, Any] | None, webhook: str | None = HOOK) -> NewBatch:
        batch_id = new_id("bat")
        items: list[Any] = [
            WRONG if request is None else _job(batch_id, request) for request in requests
        ]
        new = NewBatch(batch_id, TENANT, "key_1", items, webhook_url=webhook)
        BatchManifests(storage).write(new)
        batches.open(new)
        batches.create_jobs(new.id, new.jobs)
        return new

    return accept


def _job(batch_id: str, request: dict[str, Any]) -> NewJob:
    job = new_job(request={"output": {"key": None}, "metadata": {}} | request, batch=batch_id)
    return replace(job, model="starter")


def succeed(store: JobStore, storage: ObjectStorage, job: NewJob, picture: bytes) -> None:
    claim = store.runs.claim(job.id, "worker-1")
    assert claim is not None
    key = result_key(TENANT, claim.job.id, claim.token, "restored.png")
    storage.put(key, picture, "image/png")
    image = {"key": key, "width": 4, "height": 3, "format": "png", "sha256": "0" * 64}
    result = {
        "image": image | {"bytes": len(picture)},
        "comparison": None,
        "faces": [],
        "model": {"name": "m", "sha256": "1" * 64, "precision": "fp32", "backend": "torch"},
    }
    outcome = Outcome(Status.SUCCEEDED, result=result)
    Manifests(storage).seal(TENANT, claim.job.id, claim.token, outcome)
    assert store.runs.finish(claim.job.id, claim.token, outcome)


def fail(store: JobStore, job: NewJob) -> None:
    claim = store.runs.claim(job.id, "worker-1")
    assert claim is not None
    outcome = Outcome(Status.FAILED, error=CorruptImage().problem())
    assert store.runs.finish(claim.job.id, claim.token, outcome)


def due(outbox: Outbox) -> list[Delivery]:
    return outbox.take(100, 60)


def lines(storage: ObjectStorage, batch: Batch) -> list[BatchManifestLine]:
    assert batch.results is not None
    text = storage.get(batch.results["manifest"]["key"], max_bytes=10**6).decode()
    return [BatchManifestLine.model_validate_json(line) for line in text.splitlines()]


# --- results --------------------------------------------------------------------------------


def test_the_manifest_has_a_line_for_each_item_and_the_archive_each_picture(
    store: JobStore,
    storage: ObjectStorage,
    batches: BatchStore,
    results: BatchResults,
    accept: Accept,
) -> None:
    new = accept(
        {"input": {"key": "album/großmutter.jpg"}},
        {
            "input": {"url": "http://127.0.0.1/a/b%20c.jpg?x=1"},
            "metadata": {"filename": "../x/é .tif"},
        },
        {"input": {"url": "http://127.0.0.1/bad.jpg"}},
        None,
        {},
    )
    first, second, broken, last = new.jobs
    for job, picture in ((first, b"one"), (second, b"two" * 10**6)):
        succeed(store, storage, job, picture)
    fail(store, broken)
    assert results.store_all() == 0  # one job still waits
    store.cancel(TENANT, last.id)
    assert results.store_all() == 1
    batch = batches.get(TENANT, new.id)
    found = lines(storage, batch)
    assert [line.status for line in found] == [
        *("succeeded", "succeeded", "failed", "rejected", "canceled")
    ]
    assert [line.file for line in found] == [
        *("0001-großmutter.png", "0002-é.png", None, None, None)
    ]
    assert [line.error and line.error.code for line in found] == [
        *(None, None, "corrupt-image", "invalid-request", None)
    ]
    resource = represent_batch(batch, storage)
    assert resource.archive is not None
    with zipfile.ZipFile(io.BytesIO(httpx.get(resource.archive.url).content)) as archive:
        assert archive.testzip() is None
        assert archive.namelist() == ["0001-großmutter.png", "0002-é.png", "manifest.jsonl"]
        assert archive.read("0002-é.png") == b"two" * 10**6
        assert len(archive.read("manifest.jsonl").splitlines()) == 5
    assert list(storage.list(BATCH_MANIFESTS)) == []


def test_a_batch_without_pictures_or_archives_has_only_a_manifest(
    store: JobStore, storage: ObjectStorage, batches: BatchStore, accept: Accept
) -> None:
    failed, succeeded = accept({}), accept({})
    fail(store, failed.jobs[0])
    assert BatchResults(batches, storage, archives=True).store_all() == 1
    succeed(store, storage, succeeded.jobs[0], b"one")
    assert BatchResults(batches, storage, archives=False).store_all() == 1
    for new in (failed, succeeded):
        found = batches.get(TENANT, new.id).results
        assert found is not None
        assert found.keys() == {"manifest"}


def test_a_large_archive_is_written_in_parts_and_is_whole(
    store: JobStore,
    storage: ObjectStorage,
    batches: BatchStore,
    results: BatchResults,
    accept: Accept,
) -> None:
    new = accept(*[{}] * 5)
    for number, job in enumerate(new.jobs):
        succeed(store, storage, job, bytes([number]) * 5_000_000)
    results.store_all()
    found = batches.get(TENANT, new.id).results
    assert found is not None
    data = storage.get(found["archive"]["key"], max_bytes=10**8)
    assert len(data) == found["archive"]["bytes"] > 25_000_000
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        contents = [set(archive.read(name)) for name in archive.namelist()[:5]]
    assert contents == [{0}, {1}, {2}, {3}, {4}]


def test_results_that_were_interrupted_are_stored_by_another_notifier(
    *,
    store: JobStore,
    storage: ObjectStorage,
    batches: BatchStore,
    results: BatchResults,
    accept: Accept,
    redis: Redis,
) -> None:
    new = accept({})
    succeed(store, storage, new.jobs[0], b"one")
    assert batches.claim_finished(60) is not None  # and then it died
    assert results.store_all() == 0
    redis.zadd(redis_key("batches", "finished"), {new.id: 0})
    assert results.store_all() == 1


# --- the event ------------------------------------------------------------------------------


def test_the_event_waits_for_the_results_and_shows_them(
    store: JobStore,
    storage: ObjectStorage,
    results: BatchResults,
    outbox: Outbox,
    accept: Accept,
) -> None:
    new = accept({}, None)
    succeed(store, storage, new.jobs[0], b"one")
    assert due(outbox) == []
    results.store_all()
    (delivery,) = due(outbox)
    assert (delivery.event, delivery.url, delivery.job_id) == ("batch.completed", HOOK, "")
    assert delivery.batch is not None
    shown = represent_batch(delivery.batch, storage)
    assert (shown.id, shown.status, shown.counts.succeeded) == (new.id, "completed", 1)
    assert shown.manifest is not None
    assert shown.archive is not None
    assert due(outbox) == []


def test_the_event_is_sent_after_an_hour_even_without_results(
    store: JobStore, outbox: Outbox, accept: Accept, redis: Redis
) -> None:
    new = accept({})
    fail(store, new.jobs[0])
    (lane,) = redis.zrange(redis_key("deliveries"), 0, -1)
    ((delivery, at),) = redis.zrange(redis_key("lane", lane), 0, -1, withscores=True)
    assert 3500 < at - redis.time()[0] < 3601
    redis.zadd(redis_key("lane", lane), {delivery: 0})
    (sent,) = due(outbox)
    assert sent.batch is not None
    assert sent.batch.results is None


def test_the_last_job_writes_the_event_whatever_its_end(
    store: JobStore, outbox: Outbox, accept: Accept, results: BatchResults
) -> None:
    ended, canceled, erased, rejected = accept({}), accept({}), accept({}), accept(None)
    fail(store, ended.jobs[0])
    store.cancel(TENANT, canceled.jobs[0].id)
    store.erase(TENANT, erased.jobs[0].id)
    assert results.store_all() == 4
    found = {delivery.batch.id for delivery in due(outbox) if delivery.batch}
    assert found == {ended.id, canceled.id, erased.id, rejected.id}


def test_a_retry_after_the_end_leads_to_another_event_with_another_id(
    store: JobStore, outbox: Outbox, accept: Accept, results: BatchResults, batches: BatchStore
) -> None:
    new = accept({})
    fail(store, new.jobs[0])
    results.store_all()
    (first,) = due(outbox)
    store.retry(TENANT, new.jobs[0].id)
    assert batches.get(TENANT, new.id).results is None
    fail(store, new.jobs[0])
    results.store_all()
    (second,) = due(outbox)
    assert first.event_id != second.event_id
    assert second.batch is not None
    assert second.batch.generation == 2


def test_an_event_that_still_waits_is_sent_when_the_batch_opens_again(
    store: JobStore, outbox: Outbox, accept: Accept
) -> None:
    new = accept({})
    fail(store, new.jobs[0])
    store.retry(TENANT, new.jobs[0].id)
    (delivery,) = due(outbox)
    assert delivery.batch is not None
    assert delivery.batch.counts.failed == 1


def test_a_batch_without_a_webhook_has_no_event(
    store: JobStore, outbox: Outbox, accept: Accept, results: BatchResults
) -> None:
    fail(store, accept({}, webhook=None).jobs[0])
    assert results.store_all() == 1
    assert due(outbox) == []


# --- expiry and erasure ---------------------------------------------------------------------


def test_a_batch_that_was_kept_long_enough_leaves_only_its_event(
    *,
    store: JobStore,
    storage: ObjectStorage,
    batches: BatchStore,
    results: BatchResults,
    erasure: BatchErasure,
    outbox: Outbox,
    accept: Accept,
    redis: Redis,
) -> None:
    new = accept({})
    fail(store, new.jobs[0])
    results.store_all()
    assert erasure.run() == 0
    redis.zadd(redis_key("batches", "expiry"), {new.id: 0})
    assert erasure.run() == 1
    with pytest.raises(NotFound):
        batches.get(TENANT, new.id)
    assert list(storage.list("tenants/acme/batches/")) == []
    assert list(redis.scan_iter("fm:batch:*")) == []
    (delivery,) = due(outbox)
    assert delivery.batch is not None
    assert (delivery.batch.results, delivery.batch.counts.failed) == (None, 1)


@pytest.mark.parametrize("ended", [False, True])
def test_an_erased_batch_leaves_nothing(
    *,
    store: JobStore,
    storage: ObjectStorage,
    batches: BatchStore,
    results: BatchResults,
    erasure: BatchErasure,
    outbox: Outbox,
    accept: Accept,
    redis: Redis,
    ended: bool,
) -> None:
    new = accept({}, {}, None)
    for job in new.jobs:
        storage.put(input_key(TENANT, job.id), b"photo", "image/png")
    succeed(store, storage, new.jobs[0], b"one")
    if ended:
        succeed(store, storage, new.jobs[1], b"two")
        results.store_all()
    assert set(batches.erase(TENANT, new.id)) == {job.id for job in new.jobs}
    with pytest.raises(NotFound):
        batches.get(TENANT, new.id)
    assert erasure.run() == 1
    assert list(storage.list("")) == []
    assert due(outbox) == []
    assert batches.known([new.id]) == {new.id: BatchState.ERASED}
    left = {key.split(":")[1] for key in redis.scan_iter("fm:*")}
    assert left <= {"gone", "usage", "work", "queues", "turns", "rested"}


def test_another_tenant_cannot_erase_it(accept: Accept, batches: BatchStore) -> None:
    new = accept({})
    with pytest.raises(NotFound):
        batches.erase("globex", new.id)
    assert batches.get(TENANT, new.id).total == 1


# --- recovery -------------------------------------------------------------------------------


def test_a_batch_that_redis_has_lost_is_restored_with_its_finished_jobs(
    *,
    store: JobStore,
    storage: ObjectStorage,
    batches: BatchStore,
    outbox: Outbox,
    results: BatchResults,
    accept: Accept,
    redis: Redis,
) -> None:
    new = accept({}, None, {}, {})
    succeed(store, storage, new.jobs[0], b"one")
    before = batches.get(TENANT, new.id)
    redis.flushdb()
    rebuilder = Rebuilder(store, storage)
    assert rebuilder.restore_all(dry_run=True) == {RecoveryResult.QUEUED: 3}
    assert rebuilder.restore_all() == {RecoveryResult.QUEUED: 3}
    after = batches.get(TENANT, new.id)
    assert after.counts == replace(before.counts)
    assert (after.total, after.counts.succeeded, after.counts.rejected) == (4, 1, 1)
    assert after.created_at == pytest.approx(before.created_at, abs=5)
    items = batches.items(TENANT, new.id, 0, 9)
    assert [item.job_id for item in items if item.job_id] == [job.id for job in new.jobs]
    for job in new.jobs[1:]:
        fail(store, job)
    results.store_all()
    (delivery,) = due(outbox)
    assert delivery.batch is not None
    assert delivery.batch.counts.failed == 2
    assert rebuilder.restore_all() == {}


def test_a_batch_whose_creation_was_interrupted_is_completed_by_the_sweeper(
    *,
    store: JobStore,
    storage: ObjectStorage,
    batches: BatchStore,
    sweeper: Sweeper,
    objects: Any,
    accept: Accept,
) -> None:
    batch_id = new_id("bat")
    jobs = [_job(batch_id, {"metadata": {"n": str(n)}}) for n in range(STEP + 3)]
    new = NewBatch(batch_id, TENANT, "key_1", jobs)
    BatchManifests(storage).write(new)
    batches.open(new)
    batches.create_jobs(new.id, new.jobs[:STEP])  # and then the process died
    assert batches.known([new.id]) == {new.id: BatchState.INCOMPLETE}
    sweeper.sweep_manifests()
    assert batches.get(TENANT, new.id).created == STEP  # it may still be going on
    objects.later_s = 121
    assert sweeper.sweep_manifests() == 1
    batch = batches.get(TENANT, new.id)
    assert (batch.created, batch.counts.queued) == (STEP + 3, STEP + 3)
    assert sweeper.sweep_manifests() == 0


def test_the_sweeper_removes_the_manifest_of_a_batch_that_has_ended_or_was_erased(
    store: JobStore, storage: ObjectStorage, batches: BatchStore, sweeper: Sweeper, accept: Accept
) -> None:
    ended, erased, open_ = accept({}), accept({}), accept({})
    fail(store, ended.jobs[0])
    batches.erase(TENANT, erased.id)
    sweeper.sweep_manifests()
    (left,) = BatchManifests(storage).all()
    assert left.batch_id == open_.id


def test_an_item_whose_upload_another_request_has_used_meanwhile_is_rejected(
    store: JobStore, batches: BatchStore, storage: ObjectStorage
) -> None:
    batch_id = new_id("bat")
    jobs = [_job(batch_id, {}), _job(batch_id, {})]
    store.create(replace(new_job(id=jobs[1].id), model="starter"))
    new = NewBatch(batch_id, TENANT, "key_1", jobs)
    batches.open(new)
    batches.create_jobs(new.id, new.jobs)
    batch = batches.get(TENANT, new.id)
    assert (batch.counts.queued, batch.counts.rejected) == (1, 1)
    problem = batches.items(TENANT, new.id, 1, 1)[0].problem
    assert problem is not None
    assert problem["code"] == "conflict"
    for job in jobs:
        fail(store, job)
    assert batches.get(TENANT, new.id).finished_at is not None


def test_the_manifest_lines_are_json(
    store: JobStore,
    storage: ObjectStorage,
    batches: BatchStore,
    results: BatchResults,
    accept: Accept,
) -> None:
    new = accept({"input": {"url": "http://127.0.0.1/\u2028.jpg"}})
    succeed(store, storage, new.jobs[0], b"one")
    results.store_all()
    found = batches.get(TENANT, new.id).results
    assert found is not None
    text = storage.get(found["manifest"]["key"], max_bytes=10**6).decode()
    assert [json.loads(line)["index"] for line in text.split("\n") if line] == [0]
