"""What is packed comes out as it went in, and small."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.contract.restorations import RestorationParameters
from shared.jobs.compression import pack, unpack

ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner) | st.dictionaries(st.text('abc"\\é'), inner),
)  # fmt: skip


@given(ANY_JSON)
def test_any_json_comes_back(value: Any) -> None:
    packed = pack(value)
    assert unpack(packed) == value
    assert json.dumps(packed) == f'"{packed}"'  # nothing in it has to be escaped


def test_the_same_is_packed_the_same() -> None:
    assert pack({"a": [1, 2]}) == pack({"a": [1, 2]})


def test_what_was_never_packed_is_what_it_is() -> None:
    assert unpack({"faces": []}) == {"faces": []}
    assert unpack(None) is None


def test_what_was_packed_once_is_read_for_ever() -> None:
    """Bytes that the first version wrote: they end up in records that live on."""
    assert unpack("1" + KEPT) == {"options": {"faces": "all"}, "seed": 7}


def test_a_mark_of_a_newer_version_is_not_guessed_at() -> None:
    with pytest.raises(ValueError, match="newer version"):
        unpack("2" + KEPT)


def test_a_plain_request_is_next_to_nothing() -> None:
    request = RestorationParameters(model="facemend-starter").model_dump(mode="json")
    assert len(pack(request)) < len(json.dumps(request)) / 10


KEPT = "tHxDm)WWirc`X0"
