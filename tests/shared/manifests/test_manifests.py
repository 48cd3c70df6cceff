"""Manifests on a real S3 server: written once, read back whole, gone when the job has ended."""

from __future__ import annotations

import logging
import socket
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from shared.errors import Conflict, Internal, Unavailable
from shared.jobs.job import Priority
from shared.jobs.record import NewJob, outcome_json
from shared.manifests.manifests import Manifests, Promise
from shared.settings import Settings
from shared.storage.bucket import ObjectStorage
from shared.storage.keys import manifest_key, result_key
from tests.shared.conftest import DONE, at_once

NewJobs = Callable[..., NewJob]


@pytest.fixture
def manifests(storage: ObjectStorage) -> Manifests:
    return Manifests(storage)


def only(manifests: Manifests) -> Promise:
    (promise,) = manifests.all()
    return promise


def test_a_manifest_has_all_that_the_record_is_made_of(
    manifests: Manifests, new_job: NewJobs
) -> None:
    new = new_job(
        priority=Priority.HIGH,
        start_before_s=60,
        request={"metadata": {"album": "Großeltern 写真"}, "options": {"faces": [0]}},
        idempotency_key="once",
        idempotency_fingerprint="f" * 64,
    )
    manifests.write(new)
    promise = only(manifests)
    assert (promise.tenant, promise.job_id, promise.generation) == ("acme", new.id, 1)
    assert promise.age_s < 60

    manifest = manifests.read(promise)
    assert manifest is not None
    assert (manifest.id, manifest.tenant, manifest.model) == (new.id, "acme", "starter")
    assert (manifest.priority, manifest.start_before_s) == ("high", 60)
    assert manifest.spec == new.spec
    assert "once" not in manifest.reservation


def test_a_manifest_tells_no_idempotency_key(
    manifests: Manifests, new_job: NewJobs, storage: ObjectStorage
) -> None:
    new = new_job(idempotency_key="my-card-number", idempotency_fingerprint="f" * 64)
    manifests.write(new)
    stored = storage.get(manifest_key("acme", new.id, 1), max_bytes=10_000)
    assert b"my-card-number" not in stored


def test_the_same_promise_twice_is_no_error_another_of_that_id_is(
    manifests: Manifests, new_job: NewJobs
) -> None:
    new = new_job()
    manifests.write(new)
    manifests.write(new)
    with pytest.raises(Conflict):
        manifests.write(new_job(id=new.id, model="other"))
    manifest = manifests.read(only(manifests))
    assert manifest is not None
    assert manifest.model == "starter"


def test_many_who_promise_the_same_job_make_one_manifest(
    manifests: Manifests, new_job: NewJobs
) -> None:
    new = new_job()
    at_once(8, lambda _: manifests.write(new))
    assert only(manifests).job_id == new.id


def test_a_retry_has_a_manifest_of_its_own(manifests: Manifests, new_job: NewJobs) -> None:
    new = new_job()
    manifests.write(new)
    manifests.write(new, generation=2)
    manifests.remove("acme", new.id)
    assert only(manifests).generation == 2
    manifests.remove("acme", new.id, 2)
    manifests.remove("acme", new.id, 2)
    assert list(manifests.all()) == []


def test_what_is_no_manifest_is_passed_over(manifests: Manifests, storage: ObjectStorage) -> None:
    for name in ("note.txt", "acme/job_1.1.json", f"acme/job_{'0' * 32}.json", "job_.1.json"):
        storage.put(f"jobs/{name}", b"{}", "application/json")
    assert list(manifests.all()) == []


def test_a_manifest_removed_meanwhile_reads_as_none(manifests: Manifests, new_job: NewJobs) -> None:
    new = new_job()
    manifests.write(new)
    promise = only(manifests)
    manifests.remove("acme", new.id)
    assert manifests.read(promise) is None


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"{}", b"\xff", b'{"id": "job_1"}', b"null"])
def test_a_manifest_that_cannot_be_read_is_named(
    manifests: Manifests, storage: ObjectStorage, content: bytes
) -> None:
    key = manifest_key("acme", "job_" + "0" * 32, 1)
    storage.put(key, content, "application/json")
    with pytest.raises(Internal, match=key):
        manifests.read(only(manifests))


def test_a_manifest_under_another_jobs_name_is_not_believed(
    manifests: Manifests, storage: ObjectStorage, new_job: NewJobs
) -> None:
    new = new_job()
    manifests.write(new)
    data = storage.get(manifest_key("acme", new.id, 1), max_bytes=10_000)
    manifests.remove("acme", new.id)
    storage.put(manifest_key("other", new.id, 1), data, "application/json")
    with pytest.raises(Internal):
        manifests.read(only(manifests))


def test_fields_of_a_later_version_are_ignored(
    manifests: Manifests, storage: ObjectStorage, new_job: NewJobs
) -> None:
    new = new_job()
    manifests.write(new)
    key = manifest_key("acme", new.id, 1)
    data = storage.get(key, max_bytes=10_000)
    storage.put(key, b'{"later": 1,' + data[1:], "application/json")
    manifest = manifests.read(only(manifests))
    assert manifest is not None
    assert manifest.spec == new.spec


def test_a_sealed_run_is_found_by_its_token(manifests: Manifests, storage: ObjectStorage) -> None:
    storage.put(result_key("acme", "job_1", "t1", "restored.png"), b"x", "image/png")
    assert manifests.sealed("acme", "job_1") is None
    picture = result_key("acme", "job_1", "t2", "restored.png")
    done = replace(DONE, result={"faces": [], "image": {"key": picture}})
    manifests.seal("acme", "job_1", "t2", done)
    assert manifests.sealed("acme", "job_1") is None  # a seal without its picture came too late
    storage.put(picture, b"x", "image/png")
    sealed = manifests.sealed("acme", "job_1")
    assert sealed is not None
    assert sealed.token == "t2"
    assert sealed.outcome == outcome_json(done)
    assert manifests.sealed("acme", "job_2") is None
    assert manifests.sealed("other", "job_1") is None


def test_without_storage_a_promise_cannot_be_made_but_one_can_be_left_to_the_sweep(
    settings: Settings, new_job: NewJobs, caplog: pytest.LogCaptureFixture
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        nowhere = f"http://127.0.0.1:{server.getsockname()[1]}"
    away = Manifests(ObjectStorage(settings.model_copy(update={"s3_endpoint_url": nowhere})))
    calls: list[Callable[[], Any]] = [
        lambda: away.write(new_job()),
        lambda: list(away.all()),
        lambda: away.seal("acme", "job_1", "t", DONE),
        lambda: away.sealed("acme", "job_1"),
    ]

    def error(number: int) -> type[Exception] | None:
        try:
            calls[number]()
        except Unavailable as error:
            return type(error)
        return None

    assert at_once(len(calls), error) == [Unavailable] * len(calls)
    with caplog.at_level(logging.WARNING):
        away.remove("acme", "job_1")
    assert "not removed yet" in caplog.text
