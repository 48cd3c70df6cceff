from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

from api import Services, create_app
from shared.jobs.job import Job, Status
from shared.jobs.store import JobStore, Outcome
from shared.storage.bucket import ObjectStorage
from shared.storage.keys import file_key
from tests.api.conftest import Authorised, CheckedClient


def jobs(client: Any) -> dict[str, int]:
    found: dict[str, int] = client.get("/v1/usage").get_json()["jobs"]
    return found


def test_a_new_key_has_used_nothing(client: Any, services: Services) -> None:
    (key,) = services.keys.list("acme")
    usage = client.get("/v1/usage").get_json()
    assert usage == {
        "object": "usage",
        "tenant": "acme",
        "key_id": key.id,
        "jobs": {"created": 0, "succeeded": 0, "failed": 0, "canceled": 0},
        "faces_restored": 0,
        "input_bytes": 0,
        "limits": {
            "requests": {"quota": 6000, "window_s": 60, "remaining": 5999},
            "queue": {"quota": 10_000, "queued": 0},
            "input": {"bytes": 20_000_000, "pixels": 40_000_000, "side_px": 16_384},
        },
    }


def test_jobs_faces_and_bytes_are_counted(
    client: Any,
    submit: Any,
    succeed: Callable[[str, str], Job],
    store: JobStore,
    photo: bytes,
) -> None:
    done, failed, canceled, _ = (submit(client).get_json()["id"] for _ in range(4))
    succeed("acme", done)
    claim = store.claim(failed, "worker-1")
    assert claim is not None
    store.finish(failed, claim.token, Outcome(Status.FAILED, error={"code": "internal"}))
    client.post(f"/v1/restorations/{canceled}/cancel")
    usage = client.get("/v1/usage").get_json()
    assert usage["jobs"] == {"created": 4, "succeeded": 1, "failed": 1, "canceled": 1}
    assert usage["faces_restored"] == 1
    assert usage["input_bytes"] == 4 * len(photo)
    assert usage["limits"]["queue"]["queued"] == 1


def test_only_restored_faces_count(client: Any, submit: Any, store: JobStore) -> None:
    job_id = submit(client).get_json()["id"]
    claim = store.claim(job_id, "worker-1")
    assert claim is not None
    faces = [{"status": "restored"}, {"status": "skipped"}, {"status": "restored"}]
    store.finish(job_id, claim.token, Outcome(Status.SUCCEEDED, result={"faces": faces}))
    assert client.get("/v1/usage").get_json()["faces_restored"] == 2


def test_a_photo_from_the_storage_counts_with_its_size(
    client: Any, storage: ObjectStorage, photo: bytes
) -> None:
    storage.put(file_key("acme", "a.jpg"), photo, "image/jpeg")
    client.post("/v1/restorations", json={"input": {"key": "a.jpg"}})
    assert client.get("/v1/usage").get_json()["input_bytes"] == len(photo)


def test_a_submission_that_is_sent_twice_counts_once(client: Any, submit: Any) -> None:
    for _ in range(2):
        submit(client, headers={"Idempotency-Key": "order-1"})
    assert jobs(client)["created"] == 1


def test_a_retry_makes_no_new_job_but_ends_again(
    client: Any, submit: Any, succeed: Callable[[str, str], Job]
) -> None:
    job_id = submit(client).get_json()["id"]
    client.post(f"/v1/restorations/{job_id}/cancel")
    client.post(f"/v1/restorations/{job_id}/retry")
    succeed("acme", job_id)
    assert jobs(client) == {"created": 1, "succeeded": 1, "failed": 0, "canceled": 1}


def test_what_was_used_stays_used_when_jobs_are_erased(client: Any, submit: Any) -> None:
    client.open(submit(client).headers["Location"], method="DELETE")
    assert jobs(client)["created"] == 1


def test_each_key_sees_its_own(client: Any, enrol: Any, submit: Any) -> None:
    submit(client)
    sibling = enrol("acme")
    assert jobs(sibling)["created"] == 0
    assert sibling.get("/v1/usage").get_json()["limits"]["queue"]["queued"] == 1  # of the tenant
    assert enrol("other").get("/v1/usage").get_json()["limits"]["queue"]["queued"] == 0


def test_no_limit_is_null(services: Services) -> None:
    settings = services.settings.model_copy(update={"rate_limit": 0})
    rates = type(services.rates)(settings)
    app = create_app(dataclasses.replace(services, settings=settings, rates=rates))
    app.test_client_class = CheckedClient
    _, token = services.keys.create("acme", "shop")
    answer = Authorised(app.test_client(), token).get("/v1/usage")
    assert answer.get_json()["limits"]["requests"] == {
        "quota": None,
        "window_s": 60,
        "remaining": None,
    }
    assert "RateLimit" not in answer.headers
