from __future__ import annotations

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from facemend.retry import Retries, is_temporary, retry_after_s
from facemend.steps import Answer


def answer(status: int, retry_after: str | None = None) -> Answer:
    return Answer(status, {} if retry_after is None else {"retry-after": retry_after}, b"")


@pytest.mark.parametrize(
    ("status", "code", "again"),
    [
        (408, None, True),
        (429, "queue-full", True),
        (429, "rate-limited", True),
        (502, None, True),
        (503, "unavailable", True),
        (504, None, True),
        (409, "idempotency-in-progress", True),
        (409, "conflict", False),
        (400, None, False),
        (401, None, False),
        (404, None, False),
        (422, "corrupt-image", False),
        (500, "internal", False),
    ],
)
def test_only_what_may_pass_is_tried_again(status: int, code: str | None, again: bool) -> None:
    assert is_temporary(answer(status), code) is again


@pytest.mark.parametrize(
    ("given", "seconds"),
    [("0", 0), ("7", 7), ("999999", 3600), ("soon", None), (None, None), ("-1", None), ("", None)],
)
def test_retry_after_is_a_number_of_seconds(given: str | None, seconds: float | None) -> None:
    assert retry_after_s(answer(503, given)) == seconds


def test_retry_after_may_be_a_date() -> None:
    soon = format_datetime(datetime.now(UTC) + timedelta(seconds=30), usegmt=True)
    found = retry_after_s(answer(503, soon))
    assert found is not None
    assert 20 < found <= 30
    assert retry_after_s(answer(503, "Sun, 06 Nov 1994 08:49:37 GMT")) == 0


def test_pauses_grow_and_vary() -> None:
    longest = [max(_pauses(number)) for number in (0, 3, 6)]
    assert longest == sorted(longest)
    assert max(_pauses(20)) <= 30
    assert len(set(_pauses(3))) > 1


def _pauses(number: int) -> list[float]:
    """Many samples of the pause after so many tries."""
    found = []
    for _ in range(200):
        retries = Retries(patience_s=1e9)
        pauses = [retries.pause_s() for _ in range(number + 1)]
        assert pauses[-1] is not None
        found.append(pauses[-1])
    return found


def test_a_pause_is_never_shorter_than_the_service_asks_and_a_little_random() -> None:
    pauses = {Retries(patience_s=1e9).pause_s(40) for _ in range(20)}
    assert len(pauses) > 1
    assert all(pause is not None and 40 <= pause <= 50 for pause in pauses)


def test_patience_ends() -> None:
    assert Retries(patience_s=5).pause_s(6) is None
    assert Retries(patience_s=0).pause_s(1) is None
