from __future__ import annotations

import random

import pytest

from shared.webhooks.schedule import RETRY_SCHEDULE_S, next_delay_s


def test_the_schedule_is_the_documented_one() -> None:
    minute, hour = 60, 3600
    assert (
        5, 5 * minute, 30 * minute,
        2 * hour, 5 * hour, 10 * hour, 14 * hour, 20 * hour, 24 * hour,
    ) == RETRY_SCHEDULE_S  # fmt: skip


def test_each_wait_varies_by_20_percent_around_the_schedule() -> None:
    dice = random.Random(1).random
    for attempt, wait_s in enumerate(RETRY_SCHEDULE_S, start=1):
        delays = [next_delay_s(attempt, None, dice) or 0.0 for _ in range(200)]
        assert wait_s * 0.8 <= min(delays) < wait_s * 0.85
        assert wait_s * 1.15 < max(delays) <= wait_s * 1.2


def test_the_tenth_attempt_is_the_last_even_with_a_retry_after() -> None:
    assert next_delay_s(9, None, lambda: 0.5) == 86_400
    assert next_delay_s(10, None, lambda: 0.5) is None
    assert next_delay_s(10, 60, lambda: 0.5) is None


@pytest.mark.parametrize(
    ("retry_after_s", "delay_s"),
    [(None, 5), (0.0, 5), (3.0, 5), (60.0, 60), (86_400.0, 86_400), (1e9, 86_400)],
)
def test_retry_after_lengthens_the_wait_up_to_a_day(
    retry_after_s: float | None, delay_s: float
) -> None:
    assert next_delay_s(1, retry_after_s, lambda: 0.5) == delay_s
