from __future__ import annotations

import base64
import json
import random
import socket
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from standardwebhooks.webhooks import Webhook, WebhookVerificationError
from svix.webhooks import Webhook as Svix
from svix.webhooks import WebhookVerificationError as SvixRefuses

from shared.errors import SignatureInvalid
from shared.net.fetcher import Fetcher
from shared.webhooks.events import RETRY_SCHEDULE_S, Attempt, body, next_delay_s, send, sign, verify
from tests.origin import Origin, http


def secret(filling: int) -> str:
    return "whsec_" + base64.b64encode(bytes([filling]) * 32).decode()


OLD, NEW, FOREIGN = secret(1), secret(2), secret(3)
BODY = b'{"type":"restoration.succeeded","data":{"metadata":{"name":"\\u00e9"}}}'


def now() -> int:
    return int(time.time())


def by_the_library(headers: dict[str, str], received: bytes, with_secret: str) -> Any:
    return Webhook(with_secret).verify(received, headers)


# --- the message ---


def test_the_body_has_type_time_and_data() -> None:
    made = body("restoration.failed", 1_700_000_000.25, {"id": "job_1", "metadata": {"n": "é\n"}})
    assert json.loads(made) == {
        "type": "restoration.failed",
        "timestamp": "2023-11-14T22:13:20.250Z",
        "data": {"id": "job_1", "metadata": {"n": "é\n"}},
    }


def test_the_body_of_an_event_does_not_change_between_tries() -> None:
    assert body("a", 1.5, {"b": 1}) == body("a", 1.5, {"b": 1})


# --- signing ---


def test_a_signed_webhook_passes_the_librarys_own_check() -> None:
    headers = sign([NEW], "evt_1", now(), BODY)
    assert headers["webhook-id"] == "evt_1"
    assert by_the_library(headers, BODY, NEW) == json.loads(BODY)
    assert verify(headers, BODY, NEW) == json.loads(BODY)


def test_another_implementation_takes_what_we_sign_and_refuses_the_rest() -> None:
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


def test_we_verify_what_another_implementation_signs() -> None:
    at = now()
    signed = {
        "webhook-id": "evt_1",
        "webhook-timestamp": str(at),
        "webhook-signature": Svix(NEW).sign(
            "evt_1", datetime.fromtimestamp(at, UTC), BODY.decode()
        ),
    }
    assert verify(signed, BODY, NEW) == json.loads(BODY)


def test_the_signature_is_the_specifications() -> None:
    """The vector of github.com/standard-webhooks/standard-webhooks, libraries' tests."""
    key = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
    headers = sign([key], "msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, b'{"test": 2432232314}')
    assert headers["webhook-signature"] == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
    assert headers["webhook-timestamp"] == "1614265330"


def test_while_a_secret_is_replaced_either_one_verifies_and_no_other() -> None:
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


def test_a_webhook_four_minutes_old_is_taken() -> None:
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
def test_a_secret_that_is_none_is_refused(wrong: str) -> None:
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


# --- the schedule ---


def test_the_schedule_is_the_documented_one() -> None:
    minute, hour = 60, 3600
    assert (
        5, 5 * minute, 30 * minute,
        2 * hour, 5 * hour, 10 * hour, 14 * hour, 20 * hour, 24 * hour,
    ) == RETRY_SCHEDULE_S  # fmt: skip


def test_each_wait_is_within_20_percent_of_the_schedule_and_uses_the_whole_of_it() -> None:
    dice = random.Random(1).random
    for attempt, wait_s in enumerate(RETRY_SCHEDULE_S, start=1):
        delays = [next_delay_s(attempt, None, dice) or 0.0 for _ in range(200)]
        assert wait_s * 0.8 <= min(delays) < wait_s * 0.85
        assert wait_s * 1.15 < max(delays) <= wait_s * 1.2


def test_after_the_tenth_try_it_gives_up_whatever_the_receiver_asks() -> None:
    assert next_delay_s(9, None, lambda: 0.5) == 86_400
    assert next_delay_s(10, None, lambda: 0.5) is None
    assert next_delay_s(10, 60, lambda: 0.5) is None


@pytest.mark.parametrize(
    ("retry_after_s", "delay_s"),
    [(None, 5), (0.0, 5), (3.0, 5), (60.0, 60), (86_400.0, 86_400), (1e9, 86_400)],
)
def test_retry_after_lengthens_the_wait_up_to_a_day(
    retry_after_s: float | None, delay_s: float
) -> None:
    assert next_delay_s(1, retry_after_s, lambda: 0.5) == delay_s


# --- one try ---


@pytest.fixture
def receiver() -> Iterator[Origin]:
    server = Origin()
    yield server
    server.close()


def try_once(url: str, timeout_s: float = 10) -> Attempt:
    return send(
        Fetcher(allow_private=True),
        url=url,
        event_id="evt_1",
        body=BODY,
        secrets=[NEW],
        timeout_s=timeout_s,
    )


def test_what_arrives_verifies(receiver: Origin) -> None:
    receiver.answers["/hook"] = http("204 No Content")
    attempt = try_once(receiver.url("/hook"))
    head, received = receiver.requests[0].split("\r\n\r\n")
    headers = dict(line.split(": ", 1) for line in head.split("\r\n")[1:])
    assert by_the_library(headers, received.encode(), NEW) == json.loads(BODY)
    assert headers["Content-Type"] == "application/json"
    assert attempt.delivered
    assert attempt.error is None


@pytest.mark.parametrize("status", ["200 OK", "202 Accepted", "299 Odd"])
def test_2xx_is_delivered(receiver: Origin, status: str) -> None:
    receiver.answers["/hook"] = http(status)
    assert try_once(receiver.url("/hook")).delivered


@pytest.mark.parametrize("status", ["300 a", "301 b", "307 c", "400 d", "410 e", "429 f", "500 g"])
def test_every_other_status_is_a_failure_and_410_means_gone(receiver: Origin, status: str) -> None:
    receiver.answers["/hook"] = http(status, b"hush", "Location: /hook", "Retry-After: 7")
    attempt = try_once(receiver.url("/hook"))
    assert not attempt.delivered
    assert attempt.gone == status.startswith("410")
    assert attempt.retry_after_s == 7
    assert attempt.error == f"The receiver answered with status {status[:3]}"
    assert len(receiver.requests) == 1


def test_a_receiver_that_is_not_there_is_a_failure_without_a_status() -> None:
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))  # and nobody listens
        attempt = try_once(f"http://127.0.0.1:{reserved.getsockname()[1]}/")
    assert not attempt.delivered
    assert (attempt.status_code, attempt.error) == (None, "The server cannot be reached")


def test_a_receiver_that_never_answers_is_a_failure(receiver: Origin) -> None:
    receiver.answers["/hook"] = receiver.drip
    attempt = try_once(receiver.url("/hook"), timeout_s=0.2)
    assert not attempt.delivered
    assert (attempt.status_code, attempt.error) == (None, "The server did not answer in time")


def test_a_receiver_at_a_refused_address_is_a_failure() -> None:
    attempt = try_once("http://169.254.169.254/latest/meta-data")
    assert not attempt.delivered
    assert attempt.status_code is None


def test_the_record_of_a_try_tells_when_what_and_how_long(receiver: Origin) -> None:
    receiver.answers["/hook"] = http("500 Oh")
    before = time.time()
    record = try_once(receiver.url("/hook")).record()
    assert json.loads(json.dumps(record)) == record
    assert record.keys() == {"at", "status_code", "latency_ms", "error"}
    assert datetime.fromtimestamp(record["at"], UTC) >= datetime.fromtimestamp(before, UTC)
    assert isinstance(record["latency_ms"], int)
