from __future__ import annotations

import dataclasses
import io
from collections.abc import Callable
from typing import Any

import pytest
from flask.testing import FlaskClient

from api import Services, create_app
from api.openapi import Application
from shared.errors import BucketMissing
from shared.jobs.store import JobStore, ServedModel
from shared.settings import Settings
from shared.storage.bucket import ObjectStorage, StoredObject
from shared.storage.keys import MANIFESTS, file_key
from tests.shared.conftest import at_once

Submit = Callable[..., Any]
Problem = Callable[[Any], tuple[int, str]]
PATH = "/v1/restorations"


@pytest.fixture
def stored(storage: ObjectStorage, photo: bytes) -> str:
    """A photo that the tenant acme keeps under ``old/photo.jpg``."""
    storage.put(file_key("acme", "old/photo.jpg"), photo, "image/jpeg")
    return "old/photo.jpg"


@pytest.fixture
def restricted(settings: Settings, services: Services) -> Application:
    """As in production: private addresses are refused."""
    strict = settings.model_copy(update={"allow_private_addresses": False})
    return create_app(dataclasses.replace(services, settings=strict))


def test_an_object_is_pinned_to_what_it_is_now(
    client: Any, stored: str, store: JobStore, storage: ObjectStorage
) -> None:
    answer = client.post(PATH, json={"input": {"key": stored}})
    assert answer.status_code == 202
    assert answer.get_json()["input"] == {"key": stored}
    here = storage.head(file_key("acme", stored))
    assert store.get("acme", answer.get_json()["id"]).source == {
        "key": here.key,
        "etag": here.etag,
        "bytes": here.bytes,
    }


@pytest.mark.parametrize(
    "key",
    [
        "missing.jpg",
        "../files/old/photo.jpg",
        "../../globex/files/secret.jpg",
        "tenants/globex/files/secret.jpg",
        "/old/photo.jpg",
        "old//photo.jpg",
        "%2e%2e/globex/files/secret.jpg",
        "old\\photo.jpg",
        "old/photo.jpg\u0000",
        "a\u0308.jpg",
    ],
)
def test_missing_and_foreign_objects_are_not_found_alike(
    client: Any, problem: Problem, storage: ObjectStorage, stored: str, key: str
) -> None:
    storage.put(file_key("globex", "secret.jpg"), b"\xff\xd8\xff", "image/jpeg")
    answer = client.post(PATH, json={"input": {"key": key}})
    assert problem(answer) == (422, "input-not-found")
    assert answer.get_json()["detail"] == "The photo was not found"


def test_an_object_over_the_cap_is_refused_at_once(
    client: Any, problem: Problem, services: Services, storage: ObjectStorage, app: Application
) -> None:
    storage.put(file_key("acme", "big"), bytes(services.settings.max_input_bytes + 1), "image/png")
    assert problem(client.post(PATH, json={"input": {"key": "big"}})) == (422, "input-too-large")


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1/a.jpg",
        "http://127.1/a.jpg",
        "http://2130706433/a.jpg",
        "http://0x7f000001/a.jpg",
        "http://0177.0.0.1/a.jpg",
        "http://[::1]/a.jpg",
        "http://[::ffff:127.0.0.1]/a.jpg",
        "http://\uff11\uff12\uff17.0.0.1/a.jpg",
        "http://localhost/a.jpg",
        "http://169.254.169.254/latest/meta-data/",
        "http://10.0.0.8/a.jpg",
        "file:///etc/passwd",
        "ftp://example.com/a.jpg",
        "https://user:pass@example.com/a.jpg",
        "https://example.com:22/a.jpg",
        "https://example.com/a\r\nHost: x",
    ],
)
def test_forbidden_addresses_are_refused_at_once(
    restricted: Application, client: Any, problem: Problem, url: str
) -> None:
    headers = {"Authorization": f"Bearer {client.secret}"}
    guest = restricted.test_client()
    photo = guest.post(PATH, json={"input": {"url": url}}, headers=headers)
    assert problem(photo) == (422, "input-forbidden")
    body = {"input": {"url": "https://example.com/a.jpg"}, "webhook": {"url": url}}
    webhook = guest.post(PATH, json=body, headers=headers)
    assert problem(webhook) == (422, "invalid-request")
    assert webhook.get_json()["errors"][0]["pointer"] == "/webhook/url"


def test_an_address_on_the_web_is_left_to_the_worker(
    restricted: Application, client: Any, store: JobStore
) -> None:
    body = {"input": {"url": "https://example.com/a.jpg"}}
    headers = {"Authorization": f"Bearer {client.secret}"}
    answer = restricted.test_client().post(PATH, json=body, headers=headers)
    assert answer.status_code == 202
    assert store.get("acme", answer.get_json()["id"]).source == body["input"]


def test_a_webhook_that_cannot_be_reached_is_accepted(client: Any, submit: Submit) -> None:
    answer = submit(client, {"webhook": {"url": "http://127.0.0.1:9/nobody-listens"}})
    assert answer.status_code == 202


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"", "unsupported-image"),
        (b"a text that is called photo.jpg", "unsupported-image"),
        (b"<html></html>", "unsupported-image"),
        (
            b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + (20_000).to_bytes(4, "big") * 2 + b"\1\0\0\0\0",
            "image-too-many-pixels",
        ),
    ],
)
def test_what_is_no_photo_is_refused_at_once(
    client: Any, problem: Problem, storage: ObjectStorage, data: bytes, code: str
) -> None:
    answer = client.post(PATH, data={"image": (io.BytesIO(data), "photo.jpg", "image/jpeg")})
    assert problem(answer) == (422, code)
    assert list(storage.list("")) == []


def test_a_model_that_only_a_live_worker_knows_may_be_asked_for(
    client: Any, submit: Submit, problem: Problem, store: JobStore
) -> None:
    wanted = {"model": "gpen-bfr-512"}
    refused = submit(client, wanted)
    assert problem(refused) == (422, "invalid-request")
    assert "facemend-starter" in refused.get_json()["errors"][0]["detail"]
    served = ServedModel("gpen-bfr-512", "0" * 64, 512, "other", "fp32", "torch", None)
    store.announce("worker-1", [served])
    assert submit(client, wanted).get_json()["model"] == "gpen-bfr-512"


def test_the_default_model_is_written_into_the_job(client: Any, submit: Submit) -> None:
    assert submit(client).get_json()["model"] == "facemend-starter"


def test_a_full_queue_is_told_and_keeps_no_photo(
    services: Services, client: Any, submit: Submit, storage: ObjectStorage, problem: Problem
) -> None:
    settings = services.settings.model_copy(update={"max_queued_per_tenant": 1})
    narrow = dataclasses.replace(services, store=JobStore.connect(settings))
    guest = type(client)(create_app(narrow).test_client(), client.secret)
    assert submit(guest).status_code == 202
    answer = submit(guest)
    assert problem(answer) == (429, "queue-full")
    assert int(answer.headers["Retry-After"]) > 0
    assert len(list(storage.list("tenants/acme/inputs/"))) == 1


def test_a_full_queue_is_told_before_anything_is_stored(
    services: Services, settings: Settings, client: Any, submit: Submit, problem: Problem
) -> None:
    submit(client)
    full = settings.model_copy(update={"max_queued_per_tenant": 1})
    away = settings.model_copy(update={"s3_endpoint_url": "http://127.0.0.1:9"})
    narrow = dataclasses.replace(
        services, store=JobStore.connect(full), storage=ObjectStorage(away)
    )
    guest = type(client)(create_app(narrow).test_client(), client.secret)
    assert problem(submit(guest)) == (429, "queue-full")


def test_of_many_at_once_no_more_are_taken_than_there_is_room_for(
    services: Services, client: Any, submit: Submit, storage: ObjectStorage
) -> None:
    settings = services.settings.model_copy(update={"max_queued_per_tenant": 2})
    narrow = create_app(dataclasses.replace(services, store=JobStore.connect(settings)))
    guests = [type(client)(narrow.test_client(), client.secret) for _ in range(8)]
    statuses = sorted(at_once(8, lambda number: submit(guests[number]).status_code))
    assert statuses == [202] * 2 + [429] * 6
    assert len(list(storage.list("tenants/acme/inputs/"))) == 2
    assert len(list(storage.list(MANIFESTS))) == 2


# --- parts that are away --------------------------------------------------------------------


def test_without_storage_nothing_is_accepted_and_the_key_is_given_back(
    settings: Settings, client: Any, submit: Submit, problem: Problem, store: JobStore
) -> None:
    nowhere = settings.model_copy(update={"s3_endpoint_url": "http://127.0.0.1:9"})
    lame = create_app(Services.connect(nowhere)).test_client()
    headers = {"Idempotency-Key": "order-4711"}
    answer = submit(type(client)(lame, client.secret), headers=headers)
    assert problem(answer) == (503, "unavailable")
    assert int(answer.headers["Retry-After"]) > 0
    assert "127.0.0.1" not in answer.get_data(as_text=True)
    assert store.list("acme")[0] == []
    assert submit(client, headers=headers).status_code == 202


def test_without_redis_nothing_is_stored(
    settings: Settings, client: Any, submit: Submit, problem: Problem, storage: ObjectStorage
) -> None:
    nowhere = settings.model_copy(
        update={"redis_url": type(settings.redis_url)("redis://127.0.0.1:9")}
    )
    lame: FlaskClient = create_app(Services.connect(nowhere)).test_client()
    answer = submit(type(client)(lame, client.secret))
    assert problem(answer) == (503, "unavailable")
    assert int(answer.headers["Retry-After"]) > 0
    assert list(storage.list("")) == []


class Bucketless(ObjectStorage):
    """Answers as S3 does when the bucket is missing; SeaweedFS would make it."""

    def put(self, *_: Any, **__: Any) -> StoredObject:
        raise BucketMissing


def test_a_storage_without_the_bucket_is_no_fault_of_the_photo(
    services: Services, client: Any, submit: Submit, problem: Problem
) -> None:
    lame = create_app(dataclasses.replace(services, storage=Bucketless(services.settings)))
    assert problem(submit(type(client)(lame.test_client(), client.secret))) == (503, "unavailable")
