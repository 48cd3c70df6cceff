from __future__ import annotations

import base64
import json
import time
from datetime import UTC, datetime
from typing import Any

import pytest
from standardwebhooks.webhooks import Webhook, WebhookVerificationError
from svix.webhooks import Webhook as Svix
from svix.webhooks import WebhookVerificationError as SvixRefuses

from shared.errors import SignatureInvalid
from shared.webhooks.signing import event_body, sign, verify


def secret(filling: int) -> str:
    return "whsec_" + base64.b64encode(bytes([filling]) * 32).decode()


OLD, NEW, FOREIGN = secret(1), secret(2), secret(3)
BODY = b'{"type":"restoration.succeeded","data":{"metadata":{"name":"\\u00e9"}}}'


def now() -> int:
    return int(time.time())


def by_the_library(headers: dict[str, str], received: bytes, with_secret: str) -> Any:
    return Webhook(with_secret).verify(received, headers)


# --- the body ---


def test_the_body_has_type_time_and_data() -> None:
    made = event_body(
        "restoration.failed", 1_700_000_000.25, {"id": "job_1", "metadata": {"n": "é\n"}}
    )
    assert json.loads(made) == {
        "type": "restoration.failed",
        "timestamp": "2023-11-14T22:13:20.250Z",
        "data": {"id": "job_1", "metadata": {"n": "é\n"}},
    }


def test_the_body_of_an_event_is_the_same_at_each_attempt() -> None:
    assert event_body("a", 1.5, {"b": 1}) == event_body("a", 1.5, {"b": 1})


# --- signing ---


def test_a_signed_webhook_passes_the_librarys_own_check() -> None:
    headers = sign([NEW], "evt_1", now(), BODY)
    assert headers["webhook-id"] == "evt_1"
    assert by_the_library(headers, BODY, NEW) == json.loads(BODY)
    assert verify(headers, BODY, NEW) == json.loads(BODY)


def test_another_implementation_accepts_our_signature_and_refuses_others() -> None:
    headers = sign([NEW, OLD], "evt_1", now(), BODY)
    for known in (NEW, OLD):
        assert Svix(known).verify(BODY, headers) == json.loads(BODY)
    for changed, received, known in [
        (headers, BODY, FOREIGN),
        (headers, BODY.replace(b"name", b"game"), NEW),
        (headers | {"webhook-id": "evt_2"}, BODY, NEW),
        (headers | {"webhook-timestamp": str(now() - 1)}, BODY, NEW),
        (sign([NEW], "evt_1", now() - 301, BODY), BODY, NEW),
    ]:
        with pytest.raises(SvixRefuses):
            Svix(known).verify(received, changed)


def test_the_signature_of_another_implementation_is_accepted() -> None:
    at = now()
    signed = {
        "webhook-id": "evt_1",
        "webhook-timestamp": str(at),
        "webhook-signature": Svix(NEW).sign(
            "evt_1", datetime.fromtimestamp(at, UTC), BODY.decode()
        ),
    }
    assert verify(signed, BODY, NEW) == json.loads(BODY)


def test_the_signature_is_that_of_the_specification() -> None:
    """The vector of github.com/standard-webhooks/standard-webhooks, libraries' tests."""
    key = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
    headers = sign([key], "msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, b'{"test": 2432232314}')
    assert headers["webhook-signature"] == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
    assert headers["webhook-timestamp"] == "1614265330"


def test_during_a_rotation_both_secrets_verify_and_no_other_does() -> None:
    headers = sign([NEW, OLD], "evt_1", now(), BODY)
    assert len(headers["webhook-signature"].split(" ")) == 2
    for known in (NEW, OLD):
        assert by_the_library(headers, BODY, known) == verify(headers, BODY, known)
    with pytest.raises(WebhookVerificationError):
        by_the_library(headers, BODY, FOREIGN)
    with pytest.raises(SignatureInvalid):
        verify(headers, BODY, FOREIGN)


def test_a_webhook_is_never_sent_unsigned() -> None:
    with pytest.raises(ValueError, match="secret"):
        sign([], "evt_1", now(), BODY)


@pytest.mark.parametrize("off_s", [-301, 301])
def test_a_webhook_more_than_five_minutes_off_is_refused(off_s: int) -> None:
    headers = sign([NEW], "evt_1", now() + off_s, BODY)
    with pytest.raises(WebhookVerificationError):
        by_the_library(headers, BODY, NEW)
    with pytest.raises(SignatureInvalid):
        verify(headers, BODY, NEW)


def test_a_webhook_four_minutes_old_is_accepted() -> None:
    assert verify(sign([NEW], "evt_1", now() - 240, BODY), BODY, NEW) == json.loads(BODY)


def test_a_changed_body_id_or_time_is_refused() -> None:
    headers = sign([NEW], "evt_1", now(), BODY)
    for changed, received in [
        (headers, BODY + b" "),
        (headers | {"webhook-id": "evt_2"}, BODY),
        (headers | {"webhook-timestamp": str(now() + 60)}, BODY),
    ]:
        with pytest.raises(WebhookVerificationError):
            by_the_library(changed, received, NEW)
        with pytest.raises(SignatureInvalid):
            verify(changed, received, NEW)


@pytest.mark.parametrize("name", ["webhook-id", "webhook-timestamp", "webhook-signature"])
@pytest.mark.parametrize("value", ["", "nonsense", "v1,", "v1", "v1,a,b", "v2,AAAA", "nan", "1e99"])
def test_missing_or_broken_headers_are_refused(name: str, value: str) -> None:
    headers = sign([NEW], "evt_1", now(), BODY) | {name: value}
    with pytest.raises(SignatureInvalid):
        verify(headers, BODY, NEW)


@pytest.mark.parametrize("wrong", ["", "whsec_", "whsec_a", "whsec_é"])
def test_an_invalid_secret_is_refused(wrong: str) -> None:
    with pytest.raises(SignatureInvalid):
        verify(sign([NEW], "evt_1", now(), BODY), BODY, wrong)


@pytest.mark.parametrize("signed", [b"\xff", b"not json"])
def test_a_body_that_is_not_json_is_refused(signed: bytes) -> None:
    headers = sign([NEW], "evt_1", now(), BODY)
    if signed.isascii():
        headers = sign([NEW], "evt_1", now(), signed)
    with pytest.raises(SignatureInvalid):
        verify(headers, signed, NEW)


def test_header_names_may_come_in_any_case() -> None:
    headers = {name.title(): value for name, value in sign([NEW], "evt_1", now(), BODY).items()}
    assert verify(headers, BODY, NEW) == json.loads(BODY)
