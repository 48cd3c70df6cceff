from __future__ import annotations

import email.utils
import itertools
import socket
import time
from collections.abc import Iterator

import pytest

from shared.errors import InputTimeout
from shared.net.fetcher import Fetcher
from tests.origin import Origin, http

SOON_S = 0.2


@pytest.fixture
def origin() -> Iterator[Origin]:
    server = Origin()
    yield server
    server.close()


@pytest.fixture(scope="module")
def fetcher() -> Fetcher:
    return Fetcher(allow_private=True)


def post(fetcher: Fetcher, url: str, *, timeout_s: float = 10) -> tuple[int, float | None, bytes]:
    answer = fetcher.post(url, b'{"a":1}', {"X-Event": "evt_1"}, timeout_s=timeout_s)
    return answer.status_code, answer.retry_after_s, answer.body


def test_a_post_carries_body_and_headers_and_brings_the_answer(
    origin: Origin, fetcher: Fetcher
) -> None:
    origin.answers["/hook"] = http("201 Created", b"thanks")
    assert post(fetcher, origin.url("/hook")) == (201, None, b"thanks")
    head, body = origin.requests[0].split("\r\n\r\n")
    assert head.startswith("POST /hook HTTP/1.1\r\n")
    assert "X-Event: evt_1" in head.split("\r\n")
    assert body == '{"a":1}'


def test_a_post_follows_no_redirect(origin: Origin, fetcher: Fetcher) -> None:
    origin.answers["/hook"] = http("307 Elsewhere", b"", "Location: /hook")
    assert post(fetcher, origin.url("/hook"))[0] == 307
    assert len(origin.requests) == 1


@pytest.mark.parametrize("status", ["400 a", "410 Gone", "429 b", "500 c"])
def test_a_post_brings_a_status_that_is_an_error(
    origin: Origin, fetcher: Fetcher, status: str
) -> None:
    origin.answers["/hook"] = http(status)
    assert post(fetcher, origin.url("/hook"))[0] == int(status[:3])


def test_a_post_reads_16_kib_of_an_endless_answer(origin: Origin, fetcher: Fetcher) -> None:
    def endless() -> Iterator[bytes]:
        yield b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n\r\n"
        yield from itertools.repeat(b"x" * 1000)

    origin.answers["/hook"] = endless
    assert post(fetcher, origin.url("/hook")) == (200, None, b"x" * 16_384)


def test_a_post_keeps_the_status_when_the_rest_drips_or_breaks_off(
    origin: Origin, fetcher: Fetcher
) -> None:
    head = b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n"
    origin.answers["/drips"] = lambda: itertools.chain([head], origin.drip())
    origin.answers["/breaks"] = head + b"th"
    assert post(fetcher, origin.url("/drips"), timeout_s=SOON_S)[0] == 200
    assert post(fetcher, origin.url("/breaks")) == (200, None, b"th")


def test_a_post_without_an_answer_times_out(origin: Origin, fetcher: Fetcher) -> None:
    origin.answers["/hook"] = origin.drip
    with pytest.raises(InputTimeout):
        post(fetcher, origin.url("/hook"), timeout_s=SOON_S)


def test_a_post_that_nobody_reads_times_out(fetcher: Fetcher) -> None:
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        url = f"http://127.0.0.1:{deaf.getsockname()[1]}/"
        with pytest.raises(InputTimeout):
            fetcher.post(url, bytes(20_000_000), {}, timeout_s=SOON_S)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("120", 120.0),
        ("0", 0.0),
        ("-5", None),
        ("soon", None),
        ("", None),
        ("9" * 400, 999_999_999.0),
        ("Wed, 21 Oct 2015 07:28:00 GMT", 0.0),
    ],
)
def test_retry_after_is_read_in_seconds(
    origin: Origin, fetcher: Fetcher, value: str, seconds: float | None
) -> None:
    origin.answers["/hook"] = http("503 Later", b"", f"Retry-After: {value}")
    assert post(fetcher, origin.url("/hook"))[1] == seconds


def test_retry_after_is_read_as_a_date(origin: Origin, fetcher: Fetcher) -> None:
    date = email.utils.formatdate(time.time() + 3600, usegmt=True)
    origin.answers["/hook"] = http("503 Later", b"", f"Retry-After: {date}")
    assert post(fetcher, origin.url("/hook"))[1] == pytest.approx(3600, abs=60)
