"""Where objects lie: a tenant's own names, inputs and results."""

from __future__ import annotations

import httpx
import pytest

from shared.errors import InputNotFound
from shared.storage.bucket import ObjectStorage
from shared.storage.keys import file_key, input_key, job_prefixes, result_key


@pytest.mark.parametrize(
    "name", ["a.jpg", "2026/11/ä b.jpg", "写真/1.png", "a..b", "...", "~", "#?&"]
)
def test_a_plain_name_lies_in_the_tenants_folder(storage: ObjectStorage, name: str) -> None:
    key = file_key("acme", name)
    assert key == f"tenants/acme/files/{name}"
    storage.put(key, b"x", "text/plain")
    assert storage.get(key, max_bytes=1) == b"x"
    assert httpx.get(storage.presign(key)[0]).content == b"x"


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
        "..\\b",
        "a\\b",
        "%2e%2e/b",
        "a%00",
        "a\0b",
        "a\nb",
        "a\x7fb",
        "a\u202eb",
        "a\u200bb",
        "a\ud800",
        "u\u0308.jpg",
        "x" * 769,
    ],
)
def test_a_name_that_could_mean_another_place_is_not_found(name: str) -> None:
    with pytest.raises(InputNotFound) as error:
        file_key("acme", name)
    assert error.value.problem() == InputNotFound().problem()


def test_what_a_job_stores_is_found_by_its_prefixes_and_only_that(storage: ObjectStorage) -> None:
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
