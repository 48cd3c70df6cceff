from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from api import Services
from shared.errors import CorruptImage
from shared.jobs.job import Job, Priority, Release, Status
from shared.jobs.queues import QueueName
from shared.jobs.record import Outcome
from shared.jobs.store import JobStore
from shared.storage.bucket import ObjectStorage
from shared.storage.keys import MANIFESTS, input_key, manifest_key, quarantine_key


@pytest.fixture
def failed(client: Any, submit: Any, store: JobStore) -> str:
    """A job that a worker gave up."""
    job_id = str(submit(client).get_json()["id"])
    claim = store.runs.claim(job_id, "worker-1")
    assert claim is not None
    outcome = Outcome(Status.FAILED, error=CorruptImage("cut off").problem())
    assert store.runs.finish(job_id, claim.token, outcome)
    return job_id


def test_a_failed_job_runs_again_under_its_id(
    client: Any, failed: str, succeed: Callable[[str, str], Job]
) -> None:
    answer = client.post(f"/v1/restorations/{failed}/retry")
    assert answer.status_code == 202
    assert answer.headers["Location"] == f"/v1/restorations/{failed}"
    job = answer.get_json()
    assert (job["id"], job["status"], job["error"]) == (failed, "queued", None)
    assert (job["finished_at"], job["expires_at"], job["attempt"]) == (None, None, 0)
    succeed("acme", failed)
    assert client.get(f"/v1/restorations/{failed}").get_json()["status"] == "succeeded"


def test_a_cancelled_job_runs_again(client: Any, submit: Any) -> None:
    path = submit(client).headers["Location"]
    client.post(f"{path}/cancel")
    assert client.post(f"{path}/retry").get_json()["status"] == "queued"


def test_the_doorbell_of_a_retry_rings(
    client: Any, failed: str, redis: Any, services: Services
) -> None:
    queue = QueueName(services.settings.default_model, Priority.NORMAL).doorbells
    redis.delete(queue)
    client.post(f"/v1/restorations/{failed}/retry")
    assert redis.llen(queue) == 1


def test_a_retry_has_a_new_manifest(client: Any, failed: str, services: Services) -> None:
    client.post(f"/v1/restorations/{failed}/retry")
    manifests_now = {ref.key for ref in services.manifests.all()}
    assert manifest_key("acme", failed, 2) in manifests_now


@pytest.mark.parametrize("times", [1, 2])
def test_each_retry_has_its_own_manifest(
    client: Any, submit: Any, storage: ObjectStorage, times: int
) -> None:
    path = submit(client).headers["Location"]
    for _ in range(times):
        client.post(f"{path}/cancel")
        client.post(f"{path}/retry")
    manifest_keys = [stored.key for stored in storage.list(MANIFESTS)]
    assert manifest_keys == [manifest_key("acme", path.rpartition("/")[2], 1 + times)]


def test_only_a_failed_or_canceled_job_can_be_retried(
    client: Any, submit: Any, succeed: Any, store: JobStore, problem: Any
) -> None:
    done, running, queued = (submit(client).get_json()["id"] for _ in range(3))
    succeed("acme", done)
    store.runs.claim(running, "worker-1")
    for job_id in (queued, running, done):
        answer = client.post(f"/v1/restorations/{job_id}/retry")
        assert problem(answer) == (409, "conflict")


def test_a_second_retry_of_the_same_failure_is_refused(
    client: Any, failed: str, problem: Any, services: Services
) -> None:
    path = f"/v1/restorations/{failed}/retry"
    assert client.post(path).status_code == 202
    assert problem(client.post(path)) == (409, "conflict")
    assert manifest_key("acme", failed, 2) in {one.key for one in services.manifests.all()}


def test_a_job_without_its_photo_cannot_be_retried(
    client: Any, failed: str, storage: ObjectStorage, store: JobStore, problem: Any
) -> None:
    storage.delete([input_key("acme", failed)])
    answer = client.post(f"/v1/restorations/{failed}/retry")
    assert problem(answer) == (422, "input-not-found")
    assert store.get("acme", failed).status is Status.FAILED


def test_a_retry_is_refused_if_the_queue_is_full(
    client: Any, failed: str, services: Services, problem: Any, submit: Any
) -> None:
    settings = services.settings.model_copy(update={"max_queued_per_tenant": 1})
    object.__setattr__(services, "store", JobStore.connect(settings))
    submit(client)
    answer = client.post(f"/v1/restorations/{failed}/retry")
    assert problem(answer) == (429, "queue-full")
    assert int(answer.headers["Retry-After"]) > 0
    assert manifest_key("acme", failed, 2) not in {one.key for one in services.manifests.all()}


def test_other_tenants_jobs_are_not_found(enrol: Any, failed: str, problem: Any) -> None:
    answer = enrol("other").post(f"/v1/restorations/{failed}/retry")
    assert problem(answer) == (404, "not-found")


# --- quarantine -----------------------------------------------------------------------------


@pytest.fixture
def poisoned(client: Any, submit: Any, store: JobStore, storage: ObjectStorage) -> str:
    """A job whose photo crashed the engine process twice."""
    job_id = str(submit(client).get_json()["id"])
    for status in (Status.QUEUED, Status.FAILED):
        claim = store.runs.claim(job_id, "worker-1")
        assert claim is not None
        assert store.runs.release(job_id, claim.token, Release.CRASH) is status
    storage.put(quarantine_key("acme", job_id), b"photo", "application/octet-stream")
    return job_id


def test_only_an_administrator_runs_a_job_in_quarantine_again(
    client: Any, enrol: Any, poisoned: str, problem: Any, services: Services
) -> None:
    usual = enrol("acme", frozenset({"restorations:read", "restorations:write"}))
    refused = usual.post(f"/v1/restorations/{poisoned}/retry")
    assert problem(refused) == (409, "conflict")
    assert "admin" in refused.get_json()["detail"]
    assert [ref.generation for ref in services.manifests.all()] == [1]
    assert client.post(f"/v1/restorations/{poisoned}/retry").status_code == 202


def test_a_job_from_quarantine_runs_alone_and_its_next_crash_fails_it_again(
    client: Any, poisoned: str, store: JobStore
) -> None:
    client.post(f"/v1/restorations/{poisoned}/retry")
    claim = store.runs.claim(poisoned, "worker-1")
    assert claim is not None
    assert claim.suspect
    assert store.runs.release(poisoned, claim.token, Release.CRASH) is Status.FAILED
    assert store.get("acme", poisoned).poisoned


def test_a_job_in_quarantine_needs_its_copy_and_not_its_upload(
    client: Any, poisoned: str, problem: Any, storage: ObjectStorage
) -> None:
    storage.delete([input_key("acme", poisoned)])
    storage.delete([quarantine_key("acme", poisoned)])
    refused = client.post(f"/v1/restorations/{poisoned}/retry")
    assert problem(refused) == (422, "input-not-found")
    storage.put(quarantine_key("acme", poisoned), b"photo", "application/octet-stream")
    assert client.post(f"/v1/restorations/{poisoned}/retry").status_code == 202


def test_a_job_in_quarantine_is_kept_as_long_as_its_photo(
    client: Any, poisoned: str, failed: str, store: JobStore, services: Services
) -> None:
    def kept_s(job_id: str) -> float:
        job = store.get("acme", job_id)
        assert job.expires_at is not None
        assert job.finished_at is not None
        return job.expires_at - job.finished_at

    assert kept_s(poisoned) == pytest.approx(services.settings.quarantine_ttl_s)
    assert kept_s(failed) == pytest.approx(services.settings.result_ttl_s)


def test_erasing_a_job_in_quarantine_erases_its_photo(
    client: Any, poisoned: str, storage: ObjectStorage
) -> None:
    assert client.open(f"/v1/restorations/{poisoned}", method="DELETE").status_code == 204
    assert list(storage.list("tenants/")) == []
