"""The storage as a request uses it: whatever S3 does, the wait is bounded."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from api.request_storage import PatientStorage
from shared.errors import BucketMissing, InputNotFound, Unavailable
from shared.redis.request_deadline import Patience
from shared.settings import Settings
from shared.storage.bucket import ObjectStorage


@pytest.fixture(scope="module")
def silent() -> Iterator[str]:
    """An address that takes connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


def test_it_does_what_the_storage_does(storage: ObjectStorage, settings: Settings) -> None:
    patient = PatientStorage(settings)
    key = "objects/a/b"
    stored = patient.put(key, b"abc", "text/plain", if_absent=True)
    assert storage.get(key, max_bytes=3) == b"abc"
    assert patient.get(key, max_bytes=3, etag=stored.etag) == b"abc"
    assert patient.head(key) == stored
    assert [one.key for one in patient.list("objects/")] == [key]
    assert list(patient.folders("objects/")) == ["a"]
    patient.ping()
    patient.delete([key])
    with pytest.raises(InputNotFound):
        patient.head(key)


def test_errors_are_those_of_the_storage(storage: ObjectStorage, settings: Settings) -> None:
    with pytest.raises(BucketMissing):
        PatientStorage(settings.model_copy(update={"s3_bucket": "not-there"})).ping()


def test_a_silent_storage_is_given_up_when_patience_ends(silent: str, settings: Settings) -> None:
    mute = settings.model_copy(update={"s3_endpoint_url": silent, "api_timeout_s": 3.0})
    patient = PatientStorage(mute)
    began = time.monotonic()
    with Patience(0.5).fresh(), pytest.raises(Unavailable):
        patient.put("a", bytes(2_000_000), "image/png")
    assert time.monotonic() - began < 1.5  # without it, each try would take three seconds


def test_a_kept_connection_that_goes_silent_blows_the_fuse(settings: Settings) -> None:
    good = b'HTTP/1.1 200 OK\r\nETag: "1"\r\nContent-Length: 0\r\n\r\n'
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"http://127.0.0.1:{server.getsockname()[1]}"
        mute = settings.model_copy(update={"s3_endpoint_url": url, "api_timeout_s": 3.0})
        patient, patience = PatientStorage(mute), Patience(0.3)
        with ThreadPoolExecutor(1) as threads:
            first = threads.submit(patient.put, "a", b"x", "text/plain")
            client, _ = server.accept()
            client.sendall(good)
            assert first.result().etag == "1"
        with client:
            for _ in range(3):
                with patience.fresh(), pytest.raises(Unavailable, match="in time"):
                    patient.put("a", b"x", "text/plain")
            with patience.fresh(), pytest.raises(Unavailable, match="silent a moment ago"):
                patient.put("a", b"x", "text/plain")


def test_without_a_budget_the_setting_is_the_limit(silent: str, settings: Settings) -> None:
    mute = settings.model_copy(update={"s3_endpoint_url": silent, "api_timeout_s": 0.5})
    patient = PatientStorage(mute)
    began = time.monotonic()
    with pytest.raises(Unavailable):
        patient.ping()
    assert time.monotonic() - began < 1.5


def test_signing_waits_for_nobody(silent: str, settings: Settings) -> None:
    mute = settings.model_copy(update={"s3_endpoint_url": silent})
    assert PatientStorage(mute).presign("a")[0].startswith(silent)
