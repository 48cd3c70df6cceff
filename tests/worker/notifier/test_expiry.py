from __future__ import annotations

import socket
from concurrent.futures import ThreadPoolExecutor

import pytest
from redis import Redis

from shared.errors import Conflict, NotFound, Unavailable
from shared.jobs.job import Status
from shared.jobs.record import Outcome
from shared.jobs.store import JobStore
from shared.settings import Settings
from shared.storage.bucket import ObjectStorage
from shared.storage.keys import file_key, input_key, result_key
from tests.jobs import MODEL, TENANT, end_job, new_job
from worker.notifier.expiry import Expiry
from worker.notifier.sweeper import Sweeper


@pytest.fixture
def expiry(store: JobStore, storage: ObjectStorage) -> Expiry:
    return Expiry(store, storage)


def put(storage: ObjectStorage, *keys: str) -> None:
    for key in keys:
        storage.put(key, b"x", "image/png")


def keys(storage: ObjectStorage) -> list[str]:
    return sorted(stored.key for stored in storage.list("tenants/"))


def end_with_result(store: JobStore, result: dict[str, object], source_key: str = "") -> str:
    new = new_job(model=MODEL)
    if source_key:
        new = new_job(model=MODEL, source={"key": source_key, "etag": "e"})
    claim = store.runs.claim(store.create(new).id, "worker-1")
    assert claim
    assert store.runs.finish(new.id, claim.token, Outcome(Status.SUCCEEDED, result=result))
    return new.id


def test_an_expired_job_goes_with_every_object_that_its_record_names(
    store: JobStore, storage: ObjectStorage, expiry: Expiry, redis: Redis
) -> None:
    new = new_job(model=MODEL)
    names = ("image.png", "comparison.png", "crops/0-before.png", "crops/0-after.png")
    image, comparison, before, after = (result_key(TENANT, new.id, "t1", name) for name in names)
    claim = store.runs.claim(store.create(new).id, "worker-1")
    assert claim
    result: dict[str, object] = {
        "image": {"key": image, "width": 8},
        "comparison": {"key": comparison},
        "faces": [{"index": 0, "crop": {"before_key": before, "after_key": after}}],
    }
    store.runs.finish(new.id, claim.token, Outcome(Status.SUCCEEDED, result=result))
    put(storage, input_key(TENANT, new.id), image, comparison, before, after)
    redis.zadd("fm:expiry", {new.id: 0})
    assert (expiry.erase_expired(), expiry.erase_expired()) == (1, 0)
    assert keys(storage) == []
    with pytest.raises(NotFound):
        store.get(TENANT, new.id)


def test_objects_of_the_tenant_and_of_other_jobs_stay(
    store: JobStore, storage: ObjectStorage, expiry: Expiry, redis: Redis
) -> None:
    young, own = end_job(store), file_key(TENANT, "own.png")
    other = result_key(TENANT, young, "t1", "image.png")
    put(storage, own, other)
    old = end_with_result(store, {"image": {"key": other}}, source_key=own)
    redis.zadd("fm:expiry", {old: 0})
    assert expiry.erase_expired() == 1
    assert keys(storage) == sorted([own, other])
    assert store.get(TENANT, young).id == young


def test_the_sweeper_deletes_what_a_dead_run_of_the_job_left(
    store: JobStore, storage: ObjectStorage, expiry: Expiry, redis: Redis
) -> None:
    job_id = end_job(store)
    put(storage, result_key(TENANT, job_id, "dead", "image.png"))
    redis.zadd("fm:expiry", {job_id: 0})
    assert expiry.erase_expired() == 1
    Sweeper(store, storage, input_ttl_s=0, upload_ttl_s=0).sweep_objects()
    assert keys(storage) == []


def test_without_storage_the_record_stays_and_another_notifier_erases_the_job_later(
    store: JobStore, settings: Settings, redis: Redis, storage: ObjectStorage
) -> None:
    job_id = end_job(store)
    redis.zadd("fm:expiry", {job_id: 0})
    put(storage, input_key(TENANT, job_id))
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))  # and nobody listens
        away = f"http://127.0.0.1:{reserved.getsockname()[1]}"
        lost = ObjectStorage(settings.model_copy(update={"s3_endpoint_url": away}))
        with pytest.raises(Unavailable):
            Expiry(store, lost).erase_expired()
    assert store.get(TENANT, job_id).id == job_id
    assert Expiry(store, storage).erase_expired() == 0  # the claim of the first one still holds
    redis.zadd("fm:expiring", {job_id: 0})
    assert Expiry(store, storage).erase_expired() == 1
    assert keys(storage) == []


def test_a_job_whose_expiry_is_claimed_cannot_be_retried(store: JobStore, redis: Redis) -> None:
    job_id = end_job(store)
    redis.zadd("fm:expiry", {job_id: 0})
    assert [job.id for job in store.claim_expired()] == [job_id]
    with pytest.raises(Conflict, match="expired"):
        store.retry(TENANT, job_id)


def test_two_notifiers_share_a_long_line_and_erase_each_job_once(
    store: JobStore, storage: ObjectStorage, redis: Redis
) -> None:
    ids = [end_job(store) for _ in range(600)]
    put(storage, *(input_key(TENANT, job_id) for job_id in ids))
    redis.zadd("fm:expiry", dict.fromkeys(ids, 0))
    pair = [Expiry(store, storage), Expiry(store, storage)]
    with ThreadPoolExecutor(2) as pool:
        erased = list(pool.map(Expiry.erase_expired, pair))
    assert sum(erased) == len(ids)
    assert min(erased) > 0
    assert keys(storage) == []


def test_a_notifier_that_stops_claims_no_more_jobs(
    store: JobStore, storage: ObjectStorage, redis: Redis
) -> None:
    job_id = end_job(store)
    redis.zadd("fm:expiry", {job_id: 0})
    assert Expiry(store, storage, stopping=lambda: True).erase_expired() == 0
    assert [job.id for job in store.claim_expired()] == [job_id]
