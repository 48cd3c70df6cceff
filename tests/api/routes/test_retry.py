from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from api import Services
from shared.errors import CorruptImage
from shared.jobs.job import Job, Priority, Status
from shared.jobs.store import JobStore, Outcome
from shared.queue.celery_queue import restore_queue
from shared.storage.bucket import ObjectStorage
from shared.storage.keys import MANIFESTS, input_key, manifest_key


@pytest.fixture
def failed(client: Any, submit: Any, store: JobStore) -> str:
    """A job that a worker gave up."""
    job_id = str(submit(client).get_json()["id"])
    claim = store.claim(job_id, "worker-1")
    assert claim is not None
    outcome = Outcome(Status.FAILED, error=CorruptImage("cut off").problem())
    assert store.finish(job_id, claim.token, outcome)
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


def test_its_doorbell_rings(client: Any, failed: str, redis: Any, services: Services) -> None:
    queue = restore_queue(services.settings.default_model, Priority.NORMAL)
    redis.delete(queue)
    client.post(f"/v1/restorations/{failed}/retry")
    assert redis.llen(queue) == 1


def test_it_is_promised_anew(client: Any, failed: str, services: Services) -> None:
    client.post(f"/v1/restorations/{failed}/retry")
    promises = {promise.key for promise in services.manifests.all()}
    assert manifest_key("acme", failed, 2) in promises


@pytest.mark.parametrize("times", [1, 2])
def test_each_time_is_a_promise_of_its_own(
    client: Any, submit: Any, storage: ObjectStorage, times: int
) -> None:
    path = submit(client).headers["Location"]
    for _ in range(times):
        client.post(f"{path}/cancel")
        client.post(f"{path}/retry")
    promised = [stored.key for stored in storage.list(MANIFESTS)]
    assert promised == [manifest_key("acme", path.rpartition("/")[2], 1 + times)]


def test_only_what_failed_or_was_cancelled_runs_again(
    client: Any, submit: Any, succeed: Any, store: JobStore, problem: Any
) -> None:
    done, running, queued = (submit(client).get_json()["id"] for _ in range(3))
    succeed("acme", done)
    store.claim(running, "worker-1")
    for job_id in (queued, running, done):
        answer = client.post(f"/v1/restorations/{job_id}/retry")
        assert problem(answer) == (409, "conflict")


def test_twice_is_once(client: Any, failed: str, problem: Any, services: Services) -> None:
    path = f"/v1/restorations/{failed}/retry"
    assert client.post(path).status_code == 202
    assert problem(client.post(path)) == (409, "conflict")
    assert manifest_key("acme", failed, 2) in {one.key for one in services.manifests.all()}


def test_a_job_without_its_photo_is_not_tried_again(
    client: Any, failed: str, storage: ObjectStorage, store: JobStore, problem: Any
) -> None:
    storage.delete([input_key("acme", failed)])
    answer = client.post(f"/v1/restorations/{failed}/retry")
    assert problem(answer) == (422, "input-not-found")
    assert store.get("acme", failed).status is Status.FAILED


def test_the_queue_of_the_tenant_may_be_full(
    client: Any, failed: str, services: Services, problem: Any, submit: Any
) -> None:
    settings = services.settings.model_copy(update={"max_queued_per_tenant": 1})
    object.__setattr__(services, "store", JobStore(services.store._redis, settings))
    submit(client)
    answer = client.post(f"/v1/restorations/{failed}/retry")
    assert problem(answer) == (429, "queue-full")
    assert int(answer.headers["Retry-After"]) > 0
    assert manifest_key("acme", failed, 2) not in {one.key for one in services.manifests.all()}


def test_other_tenants_jobs_are_not_there(enrol: Any, failed: str, problem: Any) -> None:
    answer = enrol("other").post(f"/v1/restorations/{failed}/retry")
    assert problem(answer) == (404, "not-found")
