from __future__ import annotations

import base64
import json
import socket
import time
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest
from standardwebhooks.webhooks import Webhook

from shared.net.fetcher import Fetcher
from shared.webhooks.attempt import Attempt, send
from tests.origin import Origin, http

SECRET = "whsec_" + base64.b64encode(bytes([2]) * 32).decode()
BODY = b'{"type":"restoration.succeeded","data":{"metadata":{"name":"\\u00e9"}}}'


@pytest.fixture
def receiver() -> Iterator[Origin]:
    server = Origin()
    yield server
    server.close()


def attempt_at(url: str, timeout_s: float = 10) -> Attempt:
    return send(
        Fetcher(allow_private="all"),
        url=url,
        event_id="evt_1",
        body=BODY,
        secrets=[SECRET],
        timeout_s=timeout_s,
    )


def test_the_received_webhook_passes_verification(receiver: Origin) -> None:
    receiver.answers["/hook"] = http("204 No Content")
    attempt = attempt_at(receiver.url("/hook"))
    head, received = receiver.requests[0].split("\r\n\r\n")
    headers = dict(line.split(": ", 1) for line in head.split("\r\n")[1:])
    assert Webhook(SECRET).verify(received.encode(), headers) == json.loads(BODY)
    assert headers["Content-Type"] == "application/json"
    assert attempt.delivered
    assert attempt.error is None


@pytest.mark.parametrize("status", ["200 OK", "202 Accepted", "299 Odd"])
def test_2xx_is_delivered(receiver: Origin, status: str) -> None:
    receiver.answers["/hook"] = http(status)
    assert attempt_at(receiver.url("/hook")).delivered


@pytest.mark.parametrize("status", ["300 a", "301 b", "307 c", "400 d", "410 e", "429 f", "500 g"])
def test_every_other_status_is_a_failure_and_410_means_gone(receiver: Origin, status: str) -> None:
    receiver.answers["/hook"] = http(status, b"hush", "Location: /hook", "Retry-After: 7")
    attempt = attempt_at(receiver.url("/hook"))
    assert not attempt.delivered
    assert attempt.gone == status.startswith("410")
    assert attempt.retry_after_s == 7
    assert attempt.error == f"The receiver responded with status {status[:3]}"
    assert len(receiver.requests) == 1


def test_an_unreachable_receiver_is_a_failure_without_a_status() -> None:
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))  # but does not listen
        attempt = attempt_at(f"http://127.0.0.1:{reserved.getsockname()[1]}/")
    assert not attempt.delivered
    assert (attempt.status_code, attempt.error) == (None, "The server cannot be reached")


def test_a_receiver_that_never_responds_is_a_failure(receiver: Origin) -> None:
    receiver.answers["/hook"] = receiver.drip
    attempt = attempt_at(receiver.url("/hook"), timeout_s=0.2)
    assert not attempt.delivered
    assert (attempt.status_code, attempt.error) == (None, "The server did not respond in time")


def test_a_receiver_at_a_refused_address_is_a_failure() -> None:
    attempt = attempt_at("http://169.254.169.254/latest/meta-data")
    assert not attempt.delivered
    assert attempt.status_code is None


def test_the_record_of_an_attempt_has_time_status_duration_and_error(receiver: Origin) -> None:
    receiver.answers["/hook"] = http("500 Oh")
    before = time.time()
    record = attempt_at(receiver.url("/hook")).record()
    assert json.loads(json.dumps(record)) == record
    assert record.keys() == {"at", "status_code", "latency_ms", "error"}
    assert datetime.fromtimestamp(record["at"], UTC) >= datetime.fromtimestamp(before, UTC)
    assert isinstance(record["latency_ms"], int)
