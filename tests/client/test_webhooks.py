from __future__ import annotations

import base64
import json
import time
from datetime import UTC, datetime
from typing import Any

import pytest
from standardwebhooks.webhooks import Webhook
from svix.webhooks import Webhook as Svix

from facemend import Client, SignatureInvalid, verify_webhook
from shared.contract.rendering import represent
from shared.jobs.store import JobStore
from shared.storage.bucket import ObjectStorage
from shared.webhooks.signing import event_body, sign
from tests.jobs import TENANT, end_job


def secret(filling: int) -> str:
    return "whsec_" + base64.b64encode(bytes([filling]) * 32).decode()


OLD, NEW, FOREIGN = secret(1), secret(2), secret(3)
BODY = event_body("webhook.test", 1_700_000_000.25, {"delivery_id": "dlv_1", "name": "é"})


def signed(body: bytes = BODY, at: int | None = None, *secrets: str) -> dict[str, str]:
    return sign(secrets or (NEW,), "evt_1", at or int(time.time()), body)


def test_an_event_of_the_service_is_verified() -> None:
    event = verify_webhook(signed(), BODY, NEW)
    assert (event.id, event.type) == ("evt_1", "webhook.test")
    assert event.data == {"delivery_id": "dlv_1", "name": "é"}
    assert event.timestamp == datetime(2023, 11, 14, 22, 13, 20, 250_000, UTC)
    assert event.job is None
    assert Client.verify_webhook(signed(), BODY.decode(), NEW) == event


def test_the_event_of_a_job_has_the_job(store: JobStore, storage: ObjectStorage) -> None:
    job = store.get(TENANT, end_job(store))
    body = event_body("restoration.failed", 0, represent(job, storage).model_dump(mode="json"))
    found = verify_webhook(signed(body), body, NEW).job
    assert found is not None
    assert (found.id, found.status) == (job.id, "failed")


@pytest.mark.parametrize("library", [Webhook, Svix])
def test_signatures_of_other_libraries_are_understood(library: Any) -> None:
    now = datetime.now(UTC)
    headers = {
        "Webhook-Id": "evt_2",
        "Webhook-Timestamp": str(int(now.timestamp())),
        "Webhook-Signature": library(NEW).sign("evt_2", now, BODY.decode()),
    }
    assert verify_webhook(headers, BODY, NEW).id == "evt_2"


def test_one_of_two_secrets_is_enough_on_either_side() -> None:
    assert verify_webhook(signed(BODY, None, OLD, NEW), BODY, OLD)
    assert verify_webhook(signed(BODY, None, OLD), BODY, [NEW, OLD])


@pytest.mark.parametrize(
    ("change", "given", "message"),
    [
        ({}, FOREIGN, "no signature fits"),
        ({}, "whsec_", "secret is not valid"),
        ({}, "whsec_%%", "secret is not valid"),
        ({}, [], "no signature fits"),
        ({"webhook-id": "evt_2"}, NEW, "no signature fits"),
        ({"webhook-signature": ""}, NEW, "no signature fits"),
        ({"webhook-signature": "v1,é"}, NEW, "no signature fits"),
        ({"webhook-signature": "v2,AAAA"}, NEW, "no signature fits"),
        ({"webhook-timestamp": "soon"}, NEW, "no number"),
        ({"webhook-timestamp": "1700000000"}, NEW, "five minutes"),
        ({"webhook-timestamp": str(int(time.time()) + 3600)}, NEW, "five minutes"),
    ],
)
def test_whatever_does_not_fit_is_refused(change: dict[str, str], given: Any, message: str) -> None:
    with pytest.raises(SignatureInvalid, match=message):
        verify_webhook(signed() | change, BODY, given)


@pytest.mark.parametrize("name", ["webhook-id", "webhook-timestamp", "webhook-signature"])
def test_a_missing_header_is_named(name: str) -> None:
    headers = signed()
    del headers[name]
    with pytest.raises(SignatureInvalid, match=name):
        verify_webhook(headers, BODY, NEW)


def test_a_changed_body_is_refused() -> None:
    with pytest.raises(SignatureInvalid):
        verify_webhook(signed(), BODY + b" ", NEW)


@pytest.mark.parametrize("body", [b"text", b"[]", b"{}", json.dumps({"type": "t"}).encode()])
def test_a_signed_body_that_is_no_message_is_refused(body: bytes) -> None:
    with pytest.raises(SignatureInvalid, match="no message"):
        verify_webhook(signed(body), body, NEW)
