"""JSON is packed into less space, and unpacked unchanged."""

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
def test_any_json_can_be_packed_and_unpacked(value: Any) -> None:
    packed = pack(value)
    assert unpack(packed) == value
    assert json.dumps(packed) == f'"{packed}"'  # nothing in it has to be escaped


def test_equal_values_are_packed_equally() -> None:
    assert pack({"a": [1, 2]}) == pack({"a": [1, 2]})


def test_a_value_that_is_not_packed_is_returned_unchanged() -> None:
    assert unpack({"faces": []}) == {"faces": []}
    assert unpack(None) is None


def test_a_text_packed_by_the_first_version_can_be_read() -> None:
    """Old records contain texts that the first version packed."""
    assert unpack("1" + KEPT) == {"options": {"faces": "all"}, "seed": 7}


def test_a_text_packed_by_a_newer_version_is_refused() -> None:
    with pytest.raises(ValueError, match="newer version"):
        unpack("2" + KEPT)


def test_a_plain_request_is_packed_into_a_few_bytes() -> None:
    request = RestorationParameters(model="facemend-starter").model_dump(mode="json")
    assert len(pack(request)) < len(json.dumps(request)) / 10


KEPT = "tHxDm)WWirc`X0"
