"""Photos that are sent straight to the storage and then submitted by their id."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from redis import Redis

from api import Services
from api.jobs.photo_check import IMAGE_TYPES
from shared.contract.uploads import UploadRequest
from shared.errors import QueueFull
from shared.jobs.store import JobStore
from shared.settings import Settings
from shared.storage.bucket import ObjectStorage
from shared.storage.keys import MANIFESTS, input_key
from tests.api.conftest import Authorised, Enrol
from tests.jobs import new_job
from tests.shared.conftest import at_once
from worker.notifier.rebuilder import Rebuilder

Problem = Callable[[Any], tuple[int, str]]
Send = Callable[..., httpx.Response]

PAGE = "https://photos.example.com"


@pytest.fixture
def create(photo: bytes) -> Callable[..., dict[str, Any]]:
    def create(client: Authorised, **changes: Any) -> dict[str, Any]:
        wanted = {"content_type": "image/jpeg", "bytes": len(photo)} | changes
        answer = client.post("/v1/uploads", json=wanted)
        assert answer.status_code == 201, answer.data
        found: dict[str, Any] = answer.get_json()
        return found

    return create


@pytest.fixture
def send(photo: bytes) -> Send:
    def send(upload: dict[str, Any], data: bytes = photo, **fields: str) -> httpx.Response:
        assert upload["method"] == "POST"
        return httpx.post(
            upload["url"],
            data=upload["fields"] | fields,
            files={"file": ("photo", data)},
            headers={"Origin": PAGE},
        )

    return send


@pytest.fixture
def sent(client: Authorised, create: Any, send: Send) -> dict[str, Any]:
    """An upload of ``client`` whose photo was sent."""
    upload: dict[str, Any] = create(client)
    assert send(upload).status_code == 204
    return upload


def submit(client: Authorised, upload: dict[str, Any], **kwargs: Any) -> Any:
    body = {"input": {"upload_id": upload["upload_id"]}}
    return client.post("/v1/restorations", json=body, **kwargs)


def test_a_photo_that_was_sent_with_the_form_can_be_restored(
    client: Authorised, create: Any, send: Send, storage: ObjectStorage, photo: bytes
) -> None:
    upload = create(client)
    assert send(upload).status_code == 204
    answer = submit(client, upload)
    assert answer.status_code == 202
    job = answer.get_json()
    assert job["input"] == {"upload_id": upload["upload_id"]}
    assert storage.get(input_key("acme", job["id"]), max_bytes=10**7) == photo


def test_the_job_is_bound_to_the_bytes_that_were_there_when_it_was_submitted(
    client: Authorised, sent: dict[str, Any], store: JobStore, storage: ObjectStorage
) -> None:
    upload = sent
    job = store.get("acme", submit(client, upload).get_json()["id"])
    stored = storage.head(job.source["key"])
    assert job.source == {"key": stored.key, "etag": stored.etag, "bytes": stored.bytes}


def test_erasing_the_job_erases_the_photo(
    client: Authorised, sent: dict[str, Any], storage: ObjectStorage
) -> None:
    upload = sent
    job_id = submit(client, upload).get_json()["id"]
    assert client.open(f"/v1/restorations/{job_id}", method="DELETE").status_code == 204
    assert list(storage.list("tenants/")) == []


def test_the_storage_refuses_what_the_form_does_not_allow(
    client: Authorised, create: Any, send: Send, storage: ObjectStorage, photo: bytes
) -> None:
    upload = create(client)
    assert send(upload, photo + b"more").status_code == 400
    assert send(upload, b"").status_code == 400
    assert send(upload, **{"Content-Type": "text/html"}).status_code == 403
    assert send(upload, key=input_key("globex", "job_" + "1" * 32)).status_code == 403
    assert send(upload, policy="").status_code >= 400
    assert list(storage.list("tenants/")) == []


def test_a_web_page_may_send_it_and_read_the_answer(
    client: Authorised, create: Any, send: Send
) -> None:
    upload = create(client)
    asked = {"Origin": PAGE, "Access-Control-Request-Method": "POST"}
    preflight = httpx.options(upload["url"], headers=asked)
    assert preflight.status_code == 200
    for answer in (preflight, send(upload)):
        assert answer.headers["Access-Control-Allow-Origin"] in {"*", PAGE}


def test_an_upload_is_used_once(
    client: Authorised, sent: dict[str, Any], problem: Problem, storage: ObjectStorage
) -> None:
    upload = sent
    first = submit(client, upload).get_json()["id"]
    again = submit(client, upload)
    assert problem(again) == (409, "conflict")
    assert first in again.get_json()["detail"]
    assert len(list(storage.list(MANIFESTS))) == 1


def test_of_many_requests_at_once_one_uses_the_upload(
    client: Authorised, sent: dict[str, Any], store: JobStore
) -> None:
    upload = sent
    answers = at_once(6, lambda _: submit(client, upload))
    codes = sorted(answer.status_code for answer in answers)
    assert codes == [202, 409, 409, 409, 409, 409]
    assert len(store.page("acme")[0]) == 1


def test_an_upload_whose_job_was_erased_cannot_be_used_again(
    client: Authorised, sent: dict[str, Any], send: Send, problem: Problem, storage: ObjectStorage
) -> None:
    upload = sent
    job_id = submit(client, upload).get_json()["id"]
    client.open(f"/v1/restorations/{job_id}", method="DELETE")
    send(upload)
    assert problem(submit(client, upload)) == (409, "conflict")
    assert list(storage.list(MANIFESTS)) == []


def test_the_same_request_with_an_idempotency_key_is_answered_again(
    client: Authorised, sent: dict[str, Any]
) -> None:
    upload = sent
    first, again = (submit(client, upload, headers={"Idempotency-Key": "a"}) for _ in range(2))
    assert first.get_json()["id"] == again.get_json()["id"]
    assert again.headers["Idempotent-Replayed"] == "true"


def test_a_request_that_was_interrupted_before_its_record_can_be_sent_again_later(
    client: Authorised, sent: dict[str, Any], problem: Problem, services: Services
) -> None:
    upload = sent
    job_id = upload["upload_id"].replace("upl_", "job_")
    services.manifests.write(new_job(id=job_id))  # and then the process died
    answer = submit(client, upload, headers={"Idempotency-Key": "a"})
    assert problem(answer) == (409, "idempotency-in-progress")
    assert answer.headers["Retry-After"] == "5"


def test_an_upload_that_the_full_queue_refused_can_be_used_later(
    client: Authorised, sent: dict[str, Any], problem: Problem, services: Services
) -> None:
    def refuse(*_: object) -> None:
        raise QueueFull

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(services.store, "create", refuse)
        assert problem(submit(client, sent)) == (429, "queue-full")
    assert submit(client, sent).status_code == 202


@pytest.mark.parametrize("upload_id", ["upl_" + "0" * 32, "upl_" + "f" * 32])
def test_an_upload_that_nobody_made_is_not_found(
    client: Authorised, problem: Problem, upload_id: str
) -> None:
    assert problem(submit(client, {"upload_id": upload_id})) == (422, "input-not-found")


def test_an_upload_that_was_not_sent_is_not_found(
    client: Authorised, create: Any, problem: Problem
) -> None:
    answer = submit(client, create(client))
    assert problem(answer) == (422, "input-not-found")
    assert "not sent" in answer.get_json()["detail"]


def test_an_upload_of_another_tenant_is_not_found(
    client: Authorised, enrol: Enrol, sent: dict[str, Any], create: Any, problem: Problem
) -> None:
    upload = sent
    mine, theirs = submit(enrol("globex"), upload), submit(client, create(client))
    assert problem(mine) == (422, "input-not-found")
    assert mine.get_json()["detail"] == theirs.get_json()["detail"]


def test_an_upload_expires(
    client: Authorised, sent: dict[str, Any], problem: Problem, monkeypatch: pytest.MonkeyPatch
) -> None:
    upload = sent
    now = time.time
    monkeypatch.setattr("api.jobs.uploads.time.time", lambda: now() + 3_601)
    answer = submit(client, upload)
    assert problem(answer) == (422, "input-not-found")
    assert "expired" in answer.get_json()["detail"]


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({"content_type": "image/svg+xml", "bytes": 1}, "/content_type"),
        ({"content_type": "image/png", "bytes": 0}, "/bytes"),
        ({"content_type": "image/png", "bytes": "7"}, "/bytes"),
        ({"content_type": "image/png"}, "/bytes"),
        ({"content_type": "image/png", "bytes": 1, "key": "a"}, "/key"),
    ],
)
def test_a_wrong_field_is_named(
    client: Authorised, problem: Problem, body: dict[str, Any], pointer: str
) -> None:
    answer = client.post("/v1/uploads", json=body)
    assert problem(answer) == (422, "invalid-request")
    assert [error["pointer"] for error in answer.get_json()["errors"]] == [pointer]


def test_a_photo_above_the_limit_gets_no_form(
    client: Authorised, problem: Problem, settings: Settings
) -> None:
    body = {"content_type": "image/png", "bytes": settings.max_input_bytes + 1}
    assert problem(client.post("/v1/uploads", json=body)) == (422, "input-too-large")


@pytest.mark.parametrize(
    "upload_id", ["", "upl_1", "job_" + "0" * 32, "upl_" + "0" * 32 + "\n", "upl_" + "A" * 32]
)
def test_a_malformed_id_is_refused(client: Authorised, problem: Problem, upload_id: str) -> None:
    answer = submit(client, {"upload_id": upload_id})
    assert problem(answer) == (422, "invalid-request")


def test_exactly_one_source_is_given(client: Authorised, problem: Problem) -> None:
    both = {"input": {"upload_id": "upl_" + "0" * 32, "key": "a.jpg"}}
    assert problem(client.post("/v1/restorations", json=both)) == (422, "invalid-request")


def test_a_key_that_may_only_read_makes_no_upload(enrol: Enrol, problem: Problem) -> None:
    reader = enrol("acme", frozenset({"restorations:read"}))
    body = {"content_type": "image/png", "bytes": 1}
    assert problem(reader.post("/v1/uploads", json=body)) == (403, "forbidden")


def test_the_accepted_types_are_those_that_a_submission_recognises() -> None:
    assert set(UploadRequest.model_fields["content_type"].annotation.__args__) == IMAGE_TYPES  # type: ignore[union-attr]


def test_a_job_from_an_upload_survives_the_loss_of_redis(
    client: Authorised, sent: dict[str, Any], store: JobStore, storage: ObjectStorage, redis: Redis
) -> None:
    job_id = submit(client, sent).get_json()["id"]
    redis.flushdb()
    Rebuilder(store, storage).restore_all()
    assert store.get("acme", job_id).source["key"] == input_key("acme", job_id)
