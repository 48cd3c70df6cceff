"""One request writes a small object; everything that fails is left to boto3."""

from __future__ import annotations

import socket
import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from botocore.credentials import Credentials

from shared.settings import Settings
from shared.storage.bucket import ObjectStorage
from shared.storage.fast_put import FastPut

TYPE = {"content-type": "text/plain"}


@pytest.fixture
def fast(settings: Settings) -> FastPut:
    return of(settings)


def of(settings: Settings, **changes: Any) -> FastPut:
    assert settings.s3_access_key_id
    assert settings.s3_secret_access_key
    key_id = settings.s3_access_key_id.get_secret_value()
    secret = settings.s3_secret_access_key.get_secret_value()
    given: dict[str, Any] = {
        "endpoint_url": settings.s3_endpoint_url,
        "bucket": settings.s3_bucket,
        "credentials": Credentials(key_id, secret),
        "region": settings.s3_region,
        "connect_timeout_s": 1,
        "timeout_s": 1,
    }
    return FastPut(**(given | changes))


@pytest.mark.parametrize("name", ["plain", "with blank", "ü/é.png", "a+b&c=d", "~*'()!", "a//b"])
def test_an_object_of_any_name_is_written(fast: FastPut, storage: ObjectStorage, name: str) -> None:
    etag = fast.put(f"small/{name}", b"content", TYPE)
    assert etag is not None
    stored = storage.head(f"small/{name}")
    assert (stored.etag, stored.bytes) == (etag.strip('"'), 7)
    assert stored.content_type == "text/plain"


def test_an_existing_object_is_kept_if_absent_is_asked_for(
    fast: FastPut, storage: ObjectStorage
) -> None:
    assert fast.put("small/once", b"first", TYPE | {"if-none-match": "*"})
    assert fast.put("small/once", b"second", TYPE | {"if-none-match": "*"}) is None
    assert storage.get("small/once", max_bytes=10) == b"first"


@pytest.mark.parametrize(
    "changes",
    [
        {"credentials": Credentials("nobody", "knows")},
        {"credentials": None},
    ],
)
def test_a_refused_write_returns_none(settings: Settings, changes: dict[str, Any]) -> None:
    assert of(settings, **changes).put("small/refused", b"content", TYPE) is None


def test_nothing_is_sent_if_a_proxy_is_set(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.setenv("no_proxy", "")
    assert of(settings).put("small/proxy", b"content", TYPE) is None


@contextmanager
def answering(
    *answers: bytes, once: bool = True, received: list[bytes] | None = None
) -> Iterator[str]:
    """A server that sends ``answers`` in turn; ``once``: one request a connection."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            left = deque(answers)
            while left:
                client, _ = server.accept()
                with client, client.makefile("rb") as requests:
                    while left and requests.readline():
                        while (line := requests.readline()).strip():
                            if received is not None:
                                received.append(line)
                        requests.read(len(b"content"))
                        client.sendall(left.popleft())
                        if once:
                            break

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.getsockname()[1]}"
        thread.join(5)


GOOD = b'HTTP/1.1 200 OK\r\nETag: "1"\r\nContent-Length: 0\r\n\r\n'


@pytest.mark.parametrize(
    "bad",
    [
        b"",
        b"HTTP/1.1 200",
        b"nonsense\r\n\r\n",
        b"HTTP/1.1 500 No\r\n\r\n",
        b"HTTP/1.1 2OO OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: none\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + 200 * b"X: 1\r\n" + b"\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + 70_000 * b"1" + b"\r\n\r\n",
        GOOD[:30],
    ],
)
def test_a_bad_response_returns_none_and_the_next_write_succeeds(
    settings: Settings, bad: bytes
) -> None:
    with answering(bad, GOOD, GOOD) as url:
        fast = of(settings, endpoint_url=url)
        assert fast.put("a", b"content", TYPE) is None
        assert fast.put("b", b"content", TYPE) == '"1"'
        # The server has closed that connection, too, without saying so.
        found = [fast.put("c", b"content", TYPE) for _ in range(2)]
        assert found == [None, '"1"']


def test_a_connection_that_the_server_closes_is_not_reused(settings: Settings) -> None:
    last = GOOD.replace(b"ETag", b"Connection: close\r\nETag")
    with answering(last, last) as url:
        fast = of(settings, endpoint_url=url)
        assert [fast.put(name, b"content", TYPE) for name in "ab"] == ['"1"', '"1"']


def test_one_connection_serves_several_writes(settings: Settings) -> None:
    with answering(GOOD, GOOD, GOOD, once=False) as url:  # no second connection is accepted
        fast = of(settings, endpoint_url=url)
        assert [fast.put(name, b"content", TYPE) for name in "abc"] == ['"1"', '"1"', '"1"']


def test_a_silent_server_is_given_up(settings: Settings) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"http://127.0.0.1:{server.getsockname()[1]}"
        assert of(settings, endpoint_url=url, timeout_s=0.1).put("a", b"content", TYPE) is None


def test_temporary_credentials_are_sent_with_their_token(settings: Settings) -> None:
    received: list[bytes] = []
    with answering(GOOD, received=received) as url:
        of(settings, endpoint_url=url, credentials=Credentials("id", "secret", "of-a-role")).put(
            "a", b"content", TYPE
        )
    assert b"x-amz-security-token: of-a-role" in b"".join(received)


def test_with_a_time_limit_only_a_kept_connection_is_used(settings: Settings) -> None:
    with answering(GOOD, GOOD, once=False) as url:
        fast = of(settings, endpoint_url=url)
        assert fast.put("a", b"content", TYPE, within_s=1) is None
        assert fast.put("a", b"content", TYPE) == '"1"'
        assert fast.put("b", b"content", TYPE, within_s=1) == '"1"'


def test_a_kept_connection_that_becomes_silent_is_given_up_in_that_time(
    settings: Settings,
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        fast = of(settings, endpoint_url=f"http://127.0.0.1:{server.getsockname()[1]}")
        first = threading.Thread(target=fast.put, args=("a", b"content", TYPE))
        first.start()
        client, _ = server.accept()
        client.sendall(GOOD)
        first.join()
        began = time.monotonic()
        assert fast.put("b", b"content", TYPE, within_s=0.1) is None
        assert time.monotonic() - began < 0.9  # its own limit is 1 s
        client.close()
