"""The manifest is written before a job is accepted, so that no crash loses the job."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import pytest
from redis import Redis

from api import Services, create_app
from shared.errors import Unavailable
from shared.jobs.job import Status
from shared.jobs.record import NewJob
from shared.jobs.recovery import RecoveryResult
from shared.jobs.store import JobStore
from shared.storage.bucket import ObjectStorage, StoredObject
from shared.storage.keys import MANIFESTS
from tests.api.conftest import with_storage
from worker.notifier.rebuilder import Rebuilder

Submit = Callable[..., Any]
Problem = Callable[[Any], tuple[int, str]]


class WithoutManifests(ObjectStorage):
    """Fails when the manifest is written, after the photo."""

    def put(self, key: str, *args: Any, **more: Any) -> StoredObject:
        if key.startswith(MANIFESTS):
            raise Unavailable
        return super().put(key, *args, **more)


def keys(storage: ObjectStorage, prefix: str = "") -> list[str]:
    return [stored.key for stored in storage.list(prefix)]


def test_an_accepted_job_has_a_manifest_from_which_it_can_be_restored(
    client: Any, submit: Submit, store: JobStore, storage: ObjectStorage, redis: Redis
) -> None:
    request = {
        "webhook": {"url": "http://127.0.0.1:9/hook"},
        "metadata": {"album": "Großeltern"},
        "priority": "high",
        "start_before_s": 600,
    }
    answer = submit(client, request, headers={"Idempotency-Key": "order-1"})
    accepted = store.get("acme", answer.get_json()["id"])
    redis.flushdb()
    assert Rebuilder(store, storage).restore_all() == {RecoveryResult.QUEUED: 1}
    again = store.get("acme", accepted.id)
    same = ("id", "tenant", "status", "model", "priority", "request", "source", "generation")
    assert [getattr(again, name) for name in same] == [getattr(accepted, name) for name in same]
    assert again.created_at == pytest.approx(accepted.created_at, abs=5)

    assert store.runs.claim(accepted.id, "worker-1")


def test_a_client_that_repeats_its_request_after_the_loss_gets_the_same_job(
    client: Any, submit: Submit, services: Services, store: JobStore, redis: Redis
) -> None:
    headers = {"Idempotency-Key": "order-1"}
    first = submit(client, headers=headers)
    copy = services.keys.copy()
    redis.flushdb()
    assert submit(client, headers=headers).status_code == 503  # and not 401
    services.keys.restore(copy)
    Rebuilder(store, services.storage).restore_all()
    second = submit(client, headers=headers)
    assert second.headers["Idempotent-Replayed"] == "true"
    assert second.get_json()["id"] == first.get_json()["id"]
    assert store.counts()["queued"] == 1


def test_without_its_manifest_no_job_is_accepted(
    services: Services, client: Any, submit: Submit, problem: Problem, store: JobStore
) -> None:
    unsure = create_app(with_storage(services, WithoutManifests(services.settings)))
    headers = {"Idempotency-Key": "order-1"}
    refused = submit(type(client)(unsure.test_client(), client.secret), headers=headers)
    assert problem(refused) == (503, "unavailable")
    assert store.page("acme")[0] == []
    assert store.counts()["queued"] == 0
    assert submit(client, headers=headers).status_code == 202


def test_a_refused_job_leaves_no_manifest_and_no_photo(
    services: Services, client: Any, submit: Submit, problem: Problem
) -> None:
    full = services.settings.model_copy(update={"max_queued_per_tenant": 1})
    strict = dataclasses.replace(services, store=JobStore.connect(full))
    strict_client = type(client)(create_app(strict).test_client(), client.secret)
    accepted = submit(strict_client).get_json()["id"]
    before = keys(services.storage)
    assert problem(submit(strict_client)) == (429, "queue-full")
    assert keys(services.storage) == before
    assert len(keys(services.storage, MANIFESTS)) == 1
    assert accepted in keys(services.storage, MANIFESTS)[0]


def test_a_full_redis_leaves_nothing_that_would_become_a_job_later(
    client: Any, submit: Submit, problem: Problem, storage: ObjectStorage, redis: Redis
) -> None:
    redis.config_set("maxmemory", 1)
    try:
        assert problem(submit(client)) == (503, "unavailable")
    finally:
        redis.config_set("maxmemory", 0)
    assert keys(storage, MANIFESTS) == []


def test_the_manifest_of_a_canceled_job_is_removed(
    client: Any, submit: Submit, store: JobStore, storage: ObjectStorage, redis: Redis
) -> None:
    job_id = submit(client).get_json()["id"]
    assert client.post(f"/v1/restorations/{job_id}/cancel").status_code == 202
    assert keys(storage, MANIFESTS) == []
    redis.flushdb()
    assert Rebuilder(store, storage).restore_all() == {}


def test_a_running_job_that_is_canceled_keeps_its_manifest_until_it_stops(
    client: Any, submit: Submit, store: JobStore, storage: ObjectStorage
) -> None:
    job_id = submit(client).get_json()["id"]
    assert store.runs.claim(job_id, "worker-1")
    client.post(f"/v1/restorations/{job_id}/cancel")
    assert len(keys(storage, MANIFESTS)) == 1
    assert store.get("acme", job_id).status is Status.RUNNING


def test_a_request_that_creates_its_record_late_finds_the_restored_job(
    client: Any, submit: Submit, services: Services, storage: ObjectStorage
) -> None:
    """A request that hangs between manifest and record, while its job is restored."""
    taken: list[NewJob] = []

    class Hanging(JobStore):
        def create(self, new: NewJob, message: str = "") -> Any:
            taken.append(new)
            Rebuilder(self, storage).restore_all()
            return super().create(new, message)

    slow = dataclasses.replace(services, store=Hanging.connect(services.settings))
    answer = submit(type(client)(create_app(slow).test_client(), client.secret))
    assert answer.status_code == 202
    assert [answer.get_json()["id"]] == [new.id for new in taken]
    assert slow.store.counts()["queued"] == 1
