"""The storage of a request: whatever S3 does, the wait is limited."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from api.request_storage import RequestStorage
from shared.errors import BucketMissing, InputNotFound, Unavailable
from shared.redis.request_deadline import RequestDeadline
from shared.settings import Settings
from shared.storage.bucket import ObjectStorage


@pytest.fixture(scope="module")
def silent() -> Iterator[str]:
    """The URL of a server that accepts connections and never responds."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


def test_each_call_has_the_effect_of_the_wrapped_storage(
    storage: ObjectStorage, settings: Settings
) -> None:
    limited = RequestStorage.connect(settings)
    key = "objects/a/b"
    stored = limited.put(key, b"abc", "text/plain", if_absent=True)
    assert storage.get(key, max_bytes=3) == b"abc"
    assert limited.get(key, max_bytes=3, etag=stored.etag) == b"abc"
    assert limited.head(key) == stored
    assert [one.key for one in limited.list("objects/")] == [key]
    assert list(limited.folders("objects/")) == ["a"]
    limited.ping()
    limited.delete([key])
    with pytest.raises(InputNotFound):
        limited.head(key)


def test_errors_of_the_wrapped_storage_pass_through(
    storage: ObjectStorage, settings: Settings
) -> None:
    with pytest.raises(BucketMissing):
        RequestStorage.connect(settings.model_copy(update={"s3_bucket": "not-there"})).ping()


def test_a_silent_storage_is_given_up_at_the_deadline(silent: str, settings: Settings) -> None:
    mute = settings.model_copy(update={"s3_endpoint_url": silent, "api_timeout_s": 3.0})
    limited = RequestStorage.connect(mute)
    began = time.monotonic()
    with RequestDeadline(0.5).start(), pytest.raises(Unavailable):
        limited.put("a", bytes(2_000_000), "image/png")
    assert time.monotonic() - began < 1.5  # without the deadline, each attempt takes three seconds


def test_a_kept_connection_that_becomes_silent_opens_the_circuit_breaker(
    settings: Settings,
) -> None:
    good = b'HTTP/1.1 200 OK\r\nETag: "1"\r\nContent-Length: 0\r\n\r\n'
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"http://127.0.0.1:{server.getsockname()[1]}"
        mute = settings.model_copy(update={"s3_endpoint_url": url, "api_timeout_s": 3.0})
        limited, deadline = RequestStorage.connect(mute), RequestDeadline(0.3)
        with ThreadPoolExecutor(1) as threads:
            first = threads.submit(limited.put, "a", b"x", "text/plain")
            client, _ = server.accept()
            client.sendall(good)
            assert first.result().etag == "1"
        with client:
            for _ in range(3):
                with deadline.start(), pytest.raises(Unavailable, match="in time"):
                    limited.put("a", b"x", "text/plain")
            with deadline.start(), pytest.raises(Unavailable, match="did not respond a moment ago"):
                limited.put("a", b"x", "text/plain")


def test_the_setting_is_the_limit_outside_of_requests(silent: str, settings: Settings) -> None:
    mute = settings.model_copy(update={"s3_endpoint_url": silent, "api_timeout_s": 0.5})
    limited = RequestStorage.connect(mute)
    began = time.monotonic()
    with pytest.raises(Unavailable):
        limited.ping()
    assert time.monotonic() - began < 1.5


def test_presigning_sends_no_request(silent: str, settings: Settings) -> None:
    mute = settings.model_copy(update={"s3_endpoint_url": silent})
    assert RequestStorage.connect(mute).presign("a")[0].startswith(silent)
