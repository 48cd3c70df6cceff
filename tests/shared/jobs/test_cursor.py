from __future__ import annotations

import base64
import string

import pytest

from shared.errors import InvalidRequest
from shared.jobs.cursor import decode, encode


@pytest.mark.parametrize("at", ["0", "1700000000.123456", "999999999999.999999999"])
def test_a_place_comes_back_as_it_was_and_fits_into_an_address(at: str) -> None:
    cursor = encode(at, "job_" + "0f" * 16)
    assert decode(cursor) == (at, "job_" + "0f" * 16)
    assert set(cursor) <= set(string.ascii_letters + string.digits + "-_")


@pytest.mark.parametrize(
    "inner", ["", "1", "1 ", " job_1", "1e5 job_1", "-1 job_1", "inf job_1", "1 job_1 x", "1 job:1"]
)
def test_what_is_no_place_of_ours_is_refused(inner: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        decode(base64.urlsafe_b64encode(inner.encode()).decode())
    assert [pointer for pointer, _ in refused.value.errors] == ["/cursor"]


@pytest.mark.parametrize("cursor", ["", "x", "é", "MSBqb2I*", "_w"])
def test_what_is_no_text_of_ours_is_refused(cursor: str) -> None:
    with pytest.raises(InvalidRequest):
        decode(cursor)
