"""Small objects: what is sent is what boto3 sends, and what goes wrong is left to boto3."""

from __future__ import annotations

import socket
import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import pytest
from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from shared.settings import Settings
from shared.storage.bucket import ObjectStorage
from shared.storage.fast_put import SmallObjects, signed_headers

TYPE = {"Content-Type": "text/plain"}


@pytest.fixture
def small(settings: Settings) -> SmallObjects:
    return of(settings)


def of(settings: Settings, **changes: Any) -> SmallObjects:
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
    return SmallObjects(**(given | changes))


@pytest.mark.parametrize("name", ["plain", "with blank", "ü/é.png", "a+b&c=d", "~*'()!", "a//b"])
def test_an_object_of_any_name_is_there_afterwards(
    small: SmallObjects, storage: ObjectStorage, name: str
) -> None:
    etag = small.put(f"small/{name}", b"content", TYPE)
    assert etag is not None
    stored = storage.head(f"small/{name}")
    assert (stored.etag, stored.bytes) == (etag.strip('"'), 7)
    assert stored.content_type == "text/plain"


def test_what_is_there_is_kept_if_that_is_asked_for(
    small: SmallObjects, storage: ObjectStorage
) -> None:
    assert small.put("small/once", b"first", TYPE | {"If-None-Match": "*"})
    assert small.put("small/once", b"second", TYPE | {"If-None-Match": "*"}) is None
    assert storage.get("small/once", max_bytes=10) == b"first"


@pytest.mark.parametrize(
    "changes",
    [
        {"credentials": Credentials("nobody", "knows")},
        {"credentials": None},
    ],
)
def test_what_is_refused_is_not_answered(settings: Settings, changes: dict[str, Any]) -> None:
    assert of(settings, **changes).put("small/refused", b"content", TYPE) is None


def test_behind_a_proxy_nothing_is_sent(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.setenv("no_proxy", "")
    assert of(settings).put("small/proxy", b"content", TYPE) is None


@pytest.mark.parametrize("token", [None, "of a role"])
def test_the_signature_is_the_one_that_botocore_makes(token: str | None) -> None:
    credentials = Credentials("AKIAEXAMPLE", "secret/key", token).get_frozen_credentials()
    headers = {"host": "s3.example.com:8333", "content-type": "text/plain", "if-none-match": "*"}
    path, at = "/bucket/a%20b/%C3%BC~.json", datetime(2026, 2, 3, 4, 5, 6, tzinfo=UTC)
    ours = signed_headers(
        path, b"content", headers, credentials=credentials, region="eu-central-1", at=at
    )
    signer = S3SigV4Auth(credentials, "s3", "eu-central-1")
    unsigned = {name: value for name, value in ours.items() if name != "authorization"}
    url = f"https://s3.example.com:8333{path}"
    request = AWSRequest("PUT", url, headers=unsigned, data=b"content")
    request.context["timestamp"] = "20260203T040506Z"
    text = signer.string_to_sign(request, signer.canonical_request(request))
    assert ours["authorization"].endswith(f"Signature={signer.signature(text, request)}")
    names = "content-type;host;if-none-match;x-amz-content-sha256;x-amz-date"
    assert (
        f"SignedHeaders={names}{';x-amz-security-token' if token else ''}, "
        in (ours["authorization"])
    )


@contextmanager
def answering(*answers: bytes, once: bool = True) -> Iterator[str]:
    """A server that gives ``answers`` in turn; ``once``: to one request a connection."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            left = deque(answers)
            while left:
                client, _ = server.accept()
                with client, client.makefile("rb") as requests:
                    while left and requests.readline():
                        while requests.readline().strip():
                            pass
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
    "bad", [b"", b"HTTP/1.1 200", b"nonsense\r\n\r\n", b"HTTP/1.1 500 No\r\n\r\n", GOOD[:30]]
)
def test_after_a_bad_answer_the_next_one_counts(settings: Settings, bad: bytes) -> None:
    with answering(bad, GOOD, GOOD) as url:
        small = of(settings, endpoint_url=url)
        assert small.put("a", b"content", TYPE) is None
        assert small.put("b", b"content", TYPE) == '"1"'
        # That connection is closed, too, but nobody said so.
        found = [small.put("c", b"content", TYPE) for _ in range(2)]
        assert found == [None, '"1"']


def test_a_connection_that_the_server_will_close_is_not_used_again(settings: Settings) -> None:
    last = GOOD.replace(b"ETag", b"Connection: close\r\nETag")
    with answering(last, last) as url:
        small = of(settings, endpoint_url=url)
        assert [small.put(name, b"content", TYPE) for name in "ab"] == ['"1"', '"1"']


def test_the_connection_is_kept(settings: Settings) -> None:
    with answering(GOOD, GOOD, GOOD, once=False) as url:  # a second connection nobody accepts
        small = of(settings, endpoint_url=url)
        assert [small.put(name, b"content", TYPE) for name in "abc"] == ['"1"', '"1"', '"1"']


def test_within_a_time_only_a_kept_connection_is_asked(settings: Settings) -> None:
    with answering(GOOD, GOOD, once=False) as url:
        small = of(settings, endpoint_url=url)
        assert small.put("a", b"content", TYPE, within_s=1) is None
        assert small.put("a", b"content", TYPE) == '"1"'
        assert small.put("b", b"content", TYPE, within_s=1) == '"1"'


def test_a_kept_connection_that_went_silent_is_given_up_in_that_time(settings: Settings) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        small = of(settings, endpoint_url=f"http://127.0.0.1:{server.getsockname()[1]}")
        first = threading.Thread(target=small.put, args=("a", b"content", TYPE))
        first.start()
        client, _ = server.accept()
        client.sendall(GOOD)
        first.join()
        began = time.monotonic()
        assert small.put("b", b"content", TYPE, within_s=0.1) is None
        assert time.monotonic() - began < 0.9  # its own limit is 1 s
        client.close()
