"""The keys of objects: a tenant's own names, inputs and results."""

from __future__ import annotations

import re

import httpx
import pytest

from shared.errors import InputNotFound, ObjectKeyInvalid
from shared.storage.bucket import ObjectStorage
from shared.storage.keys import file_key, input_key, job_prefixes, result_key


@pytest.mark.parametrize(
    "name",
    [
        "a.jpg",
        "2026/11/ä b.jpg",
        "写真/1.png",
        "a..b",
        "...",
        "~",
        "#?&",
        "Großmutter e\u0301.jpg",
        "u\u0308.jpg",
        "100% wool.jpg",
        "IMG%20001.jpg",
        "a%2Fb%25.jpg",
        'it\'s "quoted" & <tagged>.jpg',
        "\U0001f468\u200d\U0001f469\u200d\U0001f467.jpg",
        " blanks .jpg ",
        "+plus=;,:@!$()*.jpg",
        "/".join(["x" * 250] * 4),
    ],
)
def test_a_plain_name_is_in_the_tenants_folder(storage: ObjectStorage, name: str) -> None:
    key = file_key("acme", name)
    assert key == f"tenants/acme/files/{name}"
    storage.put(key, b"x", "text/plain")
    assert storage.get(key, max_bytes=1) == b"x"
    assert httpx.get(storage.presign(key)[0]).content == b"x"


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("..\\b", "U+005C"),
        ("a\\b", "U+005C"),
        ("a%00", "U+0000"),
        ("a\0b", "U+0000"),
        ("a\nb", "U+000A"),
        ("a\x7fb", "U+007F"),
        ("a\u202eb", "U+202E"),
        ("a\ud800", "U+D800"),
        ("x" * (1025 - len("tenants/acme/files/")), "at most 1005 bytes"),
        ("ü" * 503, "at most 1005 bytes"),
    ],
)
def test_a_character_that_is_not_accepted_or_a_long_name_is_refused_and_says_why(
    name: str, words: str
) -> None:
    with pytest.raises(ObjectKeyInvalid, match=re.escape(words)) as error:
        file_key("acme", name)
    assert error.value.code == "input-not-found"  # for a job; the API says invalid-request


@pytest.mark.parametrize(
    "name",
    [
        "",
        "/etc/passwd",
        "../other/files/a.jpg",
        "a/../../b",
        "a/..",
        "..",
        ".",
        "./a",
        "a//b",
        "a/",
        "%2e%2e/b",
        "%252e%252e%252fb",
    ],
)
def test_a_name_that_could_be_read_as_another_path_is_not_found(name: str) -> None:
    with pytest.raises(InputNotFound) as error:
        file_key("acme", name)
    assert error.value.problem() == InputNotFound().problem()


def test_the_prefixes_of_a_job_cover_its_objects_and_no_others(storage: ObjectStorage) -> None:
    mine = [
        input_key("acme", "job_1"),
        result_key("acme", "job_1", "token-a", "image.png"),
        result_key("acme", "job_1", "token-b", "image.png"),
    ]
    others = [
        input_key("acme", "job_2"),
        result_key("acme", "job_2", "token-a", "image.png"),
        result_key("other", "job_1", "token-a", "image.png"),
        file_key("acme", "job_1"),
    ]
    for key in mine + others:
        storage.put(key, b"x", "text/plain")
    found = [
        stored.key for prefix in job_prefixes("acme", "job_1") for stored in storage.list(prefix)
    ]
    assert sorted(found) == sorted(mine)
    assert len(set(mine)) == 3
