"""The shelf of the stories behaves as the real storage does."""

from __future__ import annotations

import pytest

from shared.errors import Conflict, InputNotFound
from shared.storage.bucket import ObjectStorage
from tests.shared.model.shelf import Shelf


@pytest.fixture(params=["shelf", "storage"])
def objects(request: pytest.FixtureRequest) -> Shelf | ObjectStorage:
    """One and the other."""
    return Shelf() if request.param == "shelf" else request.getfixturevalue("storage")


def test_what_was_put_is_found_under_its_prefix_until_it_is_deleted(
    objects: Shelf | ObjectStorage,
) -> None:
    stored = objects.put("a/1", b"one", "text/plain")
    objects.put("b/2", b"two", "text/plain")

    assert objects.get("a/1", max_bytes=9, etag=stored.etag) == b"one"
    assert objects.head("a/1") == stored
    assert [(found.key, found.bytes, found.etag) for found in objects.list("a/")] == [
        ("a/1", 3, stored.etag)
    ]
    objects.delete(["a/1", "a/none"])
    assert [found.key for found in objects.list("b")] == ["b/2"]
    assert list(objects.folders("b/")) == []
    assert "b" in objects.folders("")
    with pytest.raises(InputNotFound):
        objects.head("a/1")
    with pytest.raises(InputNotFound):
        objects.get("a/1", max_bytes=9)


def test_an_object_that_must_be_new_is_written_once(objects: Shelf | ObjectStorage) -> None:
    objects.put("c/1", b"first", "text/plain", if_absent=True)
    with pytest.raises(Conflict):
        objects.put("c/1", b"second", "text/plain", if_absent=True)
    assert objects.get("c/1", max_bytes=9) == b"first"
