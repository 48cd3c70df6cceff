"""When a request is sent again, and after how long."""

from __future__ import annotations

import random
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from facemend.steps import Answer

#: 408: the request arrived too slowly; 502 and 504 are of proxies before the service.
_TEMPORARY = frozenset({408, 429, 502, 503, 504})
_FIRST_S, _LONGEST_S = 0.5, 30.0
_MAX_RETRY_AFTER_S = 3600.0


@dataclass
class Retries:
    """The pauses of one request: exponential, with full jitter, as long as patience lasts.

    https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/ describes full jitter.
    """

    patience_s: float
    _tries: int = 0
    _began: float = field(default_factory=time.monotonic)

    def pause_s(self, retry_after_s: float | None = None) -> float | None:
        """Return the seconds until the next try; None: give up.

        Never less than what the service asked for, which comes with a jitter of its own of up to
        a quarter, so that clients do not return all at once.
        """
        longest = min(_LONGEST_S, _FIRST_S * 2**self._tries)
        self._tries += 1
        pause = random.uniform(0, longest)
        if retry_after_s is not None:
            pause = max(pause, retry_after_s * random.uniform(1, 1.25))
        spent = time.monotonic() - self._began
        return pause if spent + pause <= self.patience_s else None


def is_temporary(answer: Answer, code: str | None) -> bool:
    """Return whether the same request may succeed later."""
    return answer.status in _TEMPORARY or code == "idempotency-in-progress"


def retry_after_s(answer: Answer) -> float | None:
    """Return the seconds of ``Retry-After`` (RFC 9110, 10.2.3), a number or a date; None without.

    At most an hour.
    """
    given = answer.headers.get("retry-after", "").strip()
    if given.isascii() and given.isdigit():
        return min(float(given), _MAX_RETRY_AFTER_S)
    try:
        at = parsedate_to_datetime(given)
    except ValueError:
        return None
    at = at if at.tzinfo else at.replace(tzinfo=UTC)
    return min(max(0.0, (at - datetime.now(UTC)).total_seconds()), _MAX_RETRY_AFTER_S)
