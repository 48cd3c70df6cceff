"""The object storage on a real S3 server: objects are kept, and every error is typed."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta

import httpx
import pytest
from pydantic import SecretStr

from shared.errors import (
    BucketMissing,
    Conflict,
    FacemendError,
    InputChanged,
    InputNotFound,
    InputTooLarge,
    Unavailable,
)
from shared.settings import Settings
from shared.storage.bucket import ObjectStorage, StoredObject
from tests.shared.conftest import at_once

KEY = "tenants/acme/files/a.jpg"


def storage_with(settings: Settings, **changes: object) -> ObjectStorage:
    return ObjectStorage(settings.model_copy(update=changes))


# --- objects --------------------------------------------------------------------------------


def test_an_object_is_read_as_it_was_stored(storage: ObjectStorage) -> None:
    data = bytes(range(256)) * 1000
    stored = storage.put(KEY, data, "image/jpeg")
    assert stored == StoredObject(KEY, len(data), stored.etag, "image/jpeg")
    assert storage.head(KEY) == stored
    assert storage.get(KEY, max_bytes=len(data)) == data


def test_an_object_may_be_empty(storage: ObjectStorage) -> None:
    storage.put(KEY, b"", "text/plain")
    assert storage.get(KEY, max_bytes=1) == b""


def test_a_copy_has_content_and_type_of_its_source_and_outlives_it(storage: ObjectStorage) -> None:
    storage.put("a/ä b+c.png", b"picture", "image/png")
    storage.copy("a/ä b+c.png", "b/copy.png")
    storage.delete(["a/ä b+c.png"])
    assert storage.get("b/copy.png", max_bytes=10) == b"picture"
    assert storage.head("b/copy.png").content_type == "image/png"


def test_a_copy_of_a_missing_object_is_not_found(storage: ObjectStorage) -> None:
    with pytest.raises(InputNotFound):
        storage.copy("a/none.png", "b/copy.png")


def test_a_missing_object_is_not_found(storage: ObjectStorage) -> None:
    with pytest.raises(InputNotFound):
        storage.get(KEY, max_bytes=10)
    with pytest.raises(InputNotFound):
        storage.head(KEY)


def test_an_object_over_the_cap_is_refused(storage: ObjectStorage) -> None:
    storage.put(KEY, b"12345", "image/jpeg")
    assert storage.get(KEY, max_bytes=5) == b"12345"
    with pytest.raises(InputTooLarge, match="5 bytes; 4 are allowed"):
        storage.get(KEY, max_bytes=4)


def test_an_object_replaced_meanwhile_is_noticed(storage: ObjectStorage) -> None:
    first = storage.put(KEY, b"first", "image/jpeg")
    assert storage.get(KEY, max_bytes=10, etag=first.etag) == b"first"
    storage.put(KEY, b"second", "image/jpeg")
    with pytest.raises(InputChanged):
        storage.get(KEY, max_bytes=10, etag=first.etag)


def test_of_sixteen_conditional_writes_one_succeeds(storage: ObjectStorage) -> None:
    def write(number: int) -> bytes | None:
        data = f"writer {number}".encode()
        try:
            storage.put(KEY, data, "text/plain", if_absent=True)
        except Conflict:
            return None
        return data

    written = [data for data in at_once(16, write) if data]
    assert written == [storage.get(KEY, max_bytes=100)]


def test_a_version_that_is_replaced_is_neither_overwritten_nor_copied_nor_read(
    storage: ObjectStorage,
) -> None:
    old = storage.put(KEY, b"old", "text/plain").etag
    storage.copy(KEY, "copy", etag=old)
    storage.put(KEY, b"new", "text/plain", if_etag=old)
    with pytest.raises(Conflict):
        storage.put(KEY, b"late", "text/plain", if_etag=old)
    with pytest.raises(InputChanged):
        storage.copy(KEY, "copy", etag=old)
    with pytest.raises(InputChanged):
        list(storage.stream(KEY, etag=old))
    assert [storage.get(key, max_bytes=9) for key in (KEY, "copy")] == [b"new", b"old"]
    storage.delete([KEY])
    with pytest.raises(Conflict):
        storage.put(KEY, b"late", "text/plain", if_etag=old)


def test_a_listing_can_leave_folders_out(storage: ObjectStorage) -> None:
    for key in ("in/a", "in/b/c", "other"):
        storage.put(key, b"", "text/plain")
    assert [found.key for found in storage.list("in/", recursive=False)] == ["in/a"]


def test_only_keys_with_the_prefix_are_listed(storage: ObjectStorage) -> None:
    for name in ("a/1", "a/2", "ab/1", "b/1"):
        storage.put(name, b"x" * 3, "text/plain")
    assert [(stored.key, stored.bytes) for stored in storage.list("a/")] == [("a/1", 3), ("a/2", 3)]
    assert [stored.key for stored in storage.list("nothing")] == []


def test_a_deletion_covers_all_keys_and_can_be_repeated(storage: ObjectStorage) -> None:
    storage.put(KEY, b"x", "text/plain")
    storage.put("other", b"x", "text/plain")
    many = [KEY, *(f"never/{number}" for number in range(1500))]
    for _ in range(2):
        storage.delete(many)
        assert [stored.key for stored in storage.list("")] == ["other"]
    storage.delete([])


def test_a_listing_has_ages_by_the_clock_of_the_storage(storage: ObjectStorage) -> None:
    storage.put(KEY, b"x", "text/plain")
    (young,) = storage.list("")
    assert young.age_s is not None
    assert 0 <= young.age_s < 60
    time.sleep(2.1)  # the storage tells whole seconds
    (older,) = storage.list("")
    assert older.age_s is not None
    assert older.age_s > young.age_s


def test_a_folder_is_named_once_however_much_is_in_it(storage: ObjectStorage) -> None:
    for name in ("t/a/1", "t/a/2", "t/b/c/1", "t/plain", "u/d/1"):
        storage.put(name, b"x", "text/plain")
    assert sorted(storage.folders("t/")) == ["a", "b"]
    assert list(storage.folders("nothing/")) == []


def test_a_missing_bucket_has_its_own_error(settings: Settings) -> None:
    with pytest.raises(BucketMissing, match="bucket"):
        storage_with(settings, s3_bucket="nobody-made-it").ping()


# --- presigned addresses --------------------------------------------------------------------


def test_a_presigned_url_reads_this_object_and_no_other(storage: ObjectStorage) -> None:
    storage.put(KEY, b"photo", "image/jpeg")
    storage.put("tenants/acme/files/b.jpg", b"other", "image/jpeg")
    url, _ = storage.presign(KEY)
    answer = httpx.get(url)
    assert (answer.status_code, answer.content) == (200, b"photo")
    assert "content-disposition" not in answer.headers
    assert httpx.get(url.replace("a.jpg", "b.jpg")).status_code == 403
    assert httpx.put(url, content=b"forged").status_code == 403


def test_a_presigned_url_expires_at_its_stated_time(
    storage: ObjectStorage, settings: Settings
) -> None:
    url, ends_at = storage.presign(KEY)
    assert f"X-Amz-Expires={settings.url_ttl_s}" in url
    left = ends_at - datetime.now(UTC)
    assert timedelta(0) < left <= timedelta(seconds=settings.url_ttl_s)


@pytest.mark.parametrize(
    ("filename", "plain"),
    [("after.png", "after.png"), ('ä"b\r\n/c.png', "__b___c.png"), ("写真.jpg", "__.jpg")],
)
def test_a_named_download_is_saved_under_that_name(
    storage: ObjectStorage, filename: str, plain: str
) -> None:
    storage.put(KEY, b"photo", "image/jpeg")
    url, _ = storage.presign(KEY, filename=filename)
    answer = httpx.get(url)
    assert answer.status_code == 200
    said = answer.headers["content-disposition"]
    assert said.startswith(f'attachment; filename="{plain}"; filename*=UTF-8')


def test_presigned_addresses_name_the_public_endpoint(settings: Settings) -> None:
    storage = storage_with(settings, s3_public_endpoint_url="https://files.example.com")
    url, _ = storage.presign(KEY)
    assert url.startswith(f"https://files.example.com/{settings.s3_bucket}/{KEY}?")


# --- the storage away or odd ----------------------------------------------------------------


def every_call(storage: ObjectStorage) -> list[Callable[[], object]]:
    return [
        lambda: storage.put(KEY, b"x", "text/plain"),
        lambda: storage.get(KEY, max_bytes=1),
        lambda: storage.head(KEY),
        lambda: storage.copy(KEY, f"{KEY}.png"),
        lambda: storage.delete([KEY]),
        lambda: list(storage.list("")),
        lambda: list(storage.folders("")),
        storage.ping,
    ]


@pytest.fixture
def nowhere() -> str:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return f"http://127.0.0.1:{server.getsockname()[1]}"


def errors_of_every_call(storage: ObjectStorage) -> list[Exception | None]:
    """Make all calls at once, because each one is repeated for a while."""
    calls = every_call(storage)

    def error(number: int) -> Exception | None:
        try:
            calls[number]()
        except Exception as error:  # noqa: BLE001  # the point is which
            return error
        return None

    return at_once(len(calls), error)


def test_every_call_to_an_unreachable_storage_is_unavailable(
    settings: Settings, nowhere: str
) -> None:
    errors = errors_of_every_call(storage_with(settings, s3_endpoint_url=nowhere))
    assert {type(error) for error in errors} == {Unavailable}


def test_every_call_with_a_wrong_secret_is_unavailable_and_reveals_no_secret(
    settings: Settings,
) -> None:
    wrong = SecretStr("not-the-secret")
    errors = errors_of_every_call(storage_with(settings, s3_secret_access_key=wrong))
    assert {type(error) for error in errors} == {Unavailable}
    assert "not-the-secret" not in str(errors)


@pytest.fixture
def odd_server() -> Iterator[Callable[[bytes], str]]:
    """A server that sends the same bytes to each client and closes; b"" keeps it open."""
    listeners: list[socket.socket] = []
    held: list[socket.socket] = []

    def serve(listener: socket.socket, answer: bytes) -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            held.append(client)
            if answer:
                client.recv(65_536)
                client.sendall(answer)
                client.close()

    def start(answer: bytes) -> str:
        listener = socket.create_server(("127.0.0.1", 0))
        listeners.append(listener)
        threading.Thread(target=serve, args=(listener, answer), daemon=True).start()
        return f"http://127.0.0.1:{listener.getsockname()[1]}"

    yield start
    for listener in listeners:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
    for client in held:
        client.close()


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b'HTTP/1.1 200 OK\r\nContent-Length: 100\r\nETag: "e"\r\n\r\nonly this',
        b"HTTP/1.1 500 Oh\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 503 Slow Down\r\nContent-Length: 0\r\n\r\n",
        b"not HTTP at all\r\n\r\n",
    ],
    ids=["silent", "cut", "500", "503", "noise"],
)
def test_a_storage_with_invalid_responses_is_unavailable(
    settings: Settings, odd_server: Callable[[bytes], str], answer: bytes
) -> None:
    storage = storage_with(settings, s3_endpoint_url=odd_server(answer), s3_timeout_s=0.2)
    with pytest.raises(Unavailable):
        storage.get(KEY, max_bytes=1000)


@pytest.mark.parametrize(
    "call",
    [
        lambda storage: storage.put(KEY, b"x", "text/plain"),
        lambda storage: storage.put(KEY, b"x", "text/plain", if_absent=True),
        lambda storage: storage.get(KEY, max_bytes=1),
        lambda storage: list(storage.list("")),
    ],
    ids=["put", "put if absent", "get", "list"],
)
def test_without_the_bucket_every_call_raises_bucket_missing(
    settings: Settings,
    odd_server: Callable[[bytes], str],
    call: Callable[[ObjectStorage], object],
) -> None:
    body = b"<?xml version='1.0'?><Error><Code>NoSuchBucket</Code><Message>no</Message></Error>"
    answer = b"HTTP/1.1 404 Not Found\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)
    storage = storage_with(settings, s3_endpoint_url=odd_server(answer))
    with pytest.raises(BucketMissing):
        call(storage)


def test_constructing_a_storage_does_not_connect(settings: Settings, nowhere: str) -> None:
    storage = storage_with(settings, s3_endpoint_url=nowhere)
    assert storage.presign(KEY)[0].startswith(nowhere)


def test_every_error_of_the_storage_is_in_the_tree(storage: ObjectStorage) -> None:
    with pytest.raises(FacemendError):
        storage.put("x" * 5000, b"x", "text/plain")
