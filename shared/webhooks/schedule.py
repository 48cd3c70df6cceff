"""The retry schedule: how long to wait after a failed attempt of a delivery."""

from __future__ import annotations

from collections.abc import Callable

#: Seconds to wait before the second, third, … tenth attempt; after the tenth, give up.
RETRY_SCHEDULE_S = (5, 300, 1800, 7200, 18_000, 36_000, 50_400, 72_000, 86_400)
#: Each wait is random within this share of the schedule, so deliveries do not return all at once.
JITTER = 0.2
#: The longest wait that a receiver may ask for.
MAX_RETRY_AFTER_S = 86_400.0


def next_delay_s(
    attempt: int, retry_after_s: float | None, random: Callable[[], float]
) -> float | None:
    """Return the seconds to wait after the failed attempt number ``attempt`` (from 1).

    Returns None to give up. The wait is that of the schedule ± 20 %, but at least
    ``retry_after_s``, up to a day. ``random`` returns numbers in [0, 1).
    """
    if attempt > len(RETRY_SCHEDULE_S):
        return None
    delay_s = RETRY_SCHEDULE_S[attempt - 1] * (1 - JITTER + 2 * JITTER * random())
    return max(delay_s, min(retry_after_s or 0.0, MAX_RETRY_AFTER_S))
