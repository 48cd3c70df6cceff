from __future__ import annotations

import io
import json
from collections.abc import Callable
from typing import Any

import pytest
from redis import Redis

from api.jobs.submission import MAX_JSON_BYTES, MULTIPART_OVERHEAD_BYTES
from shared.settings import Settings

Problem = Callable[[Any], tuple[int, str]]
PATH = "/v1/restorations"


def pointers(answer: Any) -> list[str]:
    return [error["pointer"] for error in answer.get_json().get("errors", ())]


def photo_part(data: bytes) -> tuple[io.BytesIO, str]:
    return (io.BytesIO(data), "photo.jpg")


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({"input": {"key": "a"}, "colour": "red"}, "/colour"),
        ({"input": {"key": "a", "upload": 1}}, "/input/upload"),
        ({"input": {"key": "a"}, "options": {"strength": "high"}}, "/options/strength"),
        ({"input": {"key": "a"}, "options": {"strength": 1.01}}, "/options/strength"),
        ({"input": {"key": 7}}, "/input/key"),
        ({"input": {"key": "a"}, "model": "unheard-of"}, "/model"),
        ({"input": {"key": "a", "url": "https://example.com/a.jpg"}}, "/input"),
        ({"input": {}}, "/input"),
        ({}, "/input"),
        ({"input": {"key": "a"}, "output": {"key": "../b"}}, "/output/key"),
        ({"input": {"key": "a"}, "output": {"key": "a"}}, "/output/key"),
        ([], ""),
    ],
)
def test_a_wrong_field_is_pointed_at(
    client: Any, problem: Problem, body: Any, pointer: str
) -> None:
    answer = client.post(PATH, json=body)
    assert problem(answer) == (422, "invalid-request")
    assert pointers(answer) == [pointer]


@pytest.mark.parametrize(
    "data",
    [b"", b"{", b"\xef\xbb\xbf{}", b'{"a":1,"a":2}', b'{"a":NaN}', b'{"a":"\\ud800"}', b"\xff"],
)
def test_broken_json_is_malformed(client: Any, problem: Problem, data: bytes) -> None:
    answer = client.post(PATH, data=data, content_type="application/json")
    assert problem(answer) == (400, "invalid-request")


def test_a_bottomless_document_is_malformed(client: Any, problem: Problem) -> None:
    data = b'{"input":' * 10_000 + b"1" + b"}" * 10_000
    answer = client.post(PATH, data=data, content_type="application/json")
    assert problem(answer) == (400, "invalid-request")


@pytest.mark.parametrize(
    "content_type", [None, "text/plain", "image/jpeg", "application/x-www-form-urlencoded"]
)
def test_another_content_type_is_not_taken(
    client: Any, problem: Problem, content_type: str | None
) -> None:
    answer = client.post(PATH, data=b'{"input": {"key": "a"}}', content_type=content_type)
    assert problem(answer) == (415, "unsupported-media-type")


def test_a_compressed_body_is_not_taken(client: Any, problem: Problem) -> None:
    answer = client.post(PATH, json={}, headers={"Content-Encoding": "gzip"})
    assert problem(answer) == (415, "unsupported-media-type")


def test_json_over_its_cap_is_too_large(client: Any, problem: Problem) -> None:
    answer = client.post(PATH, json={"metadata": {"a": "x" * MAX_JSON_BYTES}})
    assert problem(answer) == (413, "payload-too-large")


class Counted:
    """An upload that tells how much of it was read, and never ends by itself."""

    def __init__(self, start: bytes) -> None:
        self.start = start
        self.read_bytes = 0

    def read(self, count: int = -1) -> bytes:
        assert count >= 0, "read to the end of what never ends"
        chunk = self.start[self.read_bytes : self.read_bytes + count].ljust(count, b"x")
        self.read_bytes += count
        return chunk

    def close(self) -> None:
        pass


PART = b'--b\r\nContent-Disposition: form-data; name="image"; filename="a.jpg"\r\n\r\n\xff\xd8\xff'
MULTIPART = "multipart/form-data; boundary=b"


def test_an_upload_of_60_mb_is_refused_unread(client: Any, problem: Problem) -> None:
    body = Counted(PART)
    environ = {"wsgi.input": body, "CONTENT_LENGTH": "60000000"}
    answer = client.post(PATH, content_type=MULTIPART, environ_overrides=environ)
    assert problem(answer) == (413, "payload-too-large")
    assert body.read_bytes == 0


def test_an_endless_upload_without_a_length_is_cut_off_at_the_cap(
    client: Any, problem: Problem, settings: Settings
) -> None:
    body = Counted(PART)
    environ = {"wsgi.input": body, "wsgi.input_terminated": True, "CONTENT_LENGTH": ""}
    answer = client.post(PATH, content_type=MULTIPART, environ_overrides=environ)
    assert problem(answer) == (413, "payload-too-large")
    assert body.read_bytes <= settings.max_input_bytes + MULTIPART_OVERHEAD_BYTES + 200_000


def test_a_photo_just_over_the_cap_is_too_large(
    client: Any, problem: Problem, settings: Settings
) -> None:
    data = b"\xff\xd8\xff" + bytes(settings.max_input_bytes - 2)
    answer = client.post(PATH, data={"image": photo_part(data)})
    assert problem(answer) == (413, "payload-too-large")


@pytest.mark.parametrize(
    ("parts", "pointer"),
    [
        ({}, "/image"),
        ({"image": "as text"}, "/image"),
        ({"photo": photo_part(b"\xff\xd8\xff")}, "/image"),
        ({"image": photo_part(b"\xff\xd8\xff"), "colour": "red"}, "/colour"),
        ({"image": [photo_part(b"\xff\xd8\xff"), photo_part(b"\xff\xd8\xff")]}, "/image"),
        ({"image": [photo_part(b"\xff\xd8\xff"), "as text"]}, "/image"),
        ({"image": photo_part(b"\xff\xd8\xff"), "request": ["{}", "{}"]}, "/request"),
        (
            {"request": [(io.BytesIO(b"{}"), "a.json"), "{}"], "image": photo_part(b"\xff\xd8")},
            "/request",
        ),
        ({"image": photo_part(b"\xff\xd8\xff"), "request": "[]"}, ""),
        ({"image": photo_part(b"\xff\xd8\xff"), "request": '{"colour": 1}'}, "/colour"),
        ({"image": photo_part(b"\xff\xd8\xff"), "request": '{"input": {"key": "a"}}'}, "/input"),
    ],
)
def test_a_wrong_part_is_pointed_at(
    client: Any, problem: Problem, parts: dict[str, Any], pointer: str
) -> None:
    answer = client.post(PATH, data=parts, content_type="multipart/form-data")
    assert problem(answer) == (422, "invalid-request")
    assert pointers(answer) == [pointer]


@pytest.mark.parametrize("document", ["{", '{"a":1,"a":1}', "\ufeff{}"])
def test_a_broken_request_part_is_malformed(client: Any, problem: Problem, document: str) -> None:
    parts = {"image": photo_part(b"\xff\xd8\xff"), "request": document}
    assert problem(client.post(PATH, data=parts)) == (400, "invalid-request")


@pytest.mark.parametrize(
    ("content_type", "data"),
    [
        ("multipart/form-data", PART),
        (MULTIPART, PART),
        (MULTIPART, b"--b\r\nno header"),
        (MULTIPART, b"nothing of the kind"),
    ],
    ids=["no boundary", "no end", "no part header", "no part"],
)
def test_a_broken_multipart_body_is_malformed(
    client: Any, problem: Problem, content_type: str, data: bytes
) -> None:
    answer = client.post(PATH, data=data, content_type=content_type)
    assert problem(answer) == (400, "invalid-request")


def test_a_thousand_parts_are_too_many(client: Any, problem: Problem) -> None:
    answer = client.post(
        PATH, data={f"p{n}": "" for n in range(1001)}, content_type="multipart/form-data"
    )
    assert problem(answer) == (413, "payload-too-large")


def test_the_request_part_may_come_as_a_file(client: Any, photo: bytes) -> None:
    document = json.dumps({"metadata": {"a": "b"}}).encode()
    parts = {
        "image": photo_part(photo),
        "request": (io.BytesIO(document), "request.json", "application/json"),
    }
    answer = client.post(PATH, data=parts)
    assert (answer.status_code, answer.get_json()["metadata"]) == (202, {"a": "b"})


def test_a_refused_request_leaves_nothing_behind(client: Any, redis: Redis, storage: Any) -> None:
    client.post(PATH, json={"input": {"key": "missing.jpg"}})
    client.post(PATH, data={"image": photo_part(b"text")})
    assert list(storage.list("")) == []
    assert not [name for name in redis.scan_iter("*") if "job" in name]
