"""How often an API key may ask: a bucket in Redis, the same for all API processes.

It holds as many requests as the quota and fills evenly, so that there is no moment at which all
clients may start again together.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from shared.errors import RateLimited
from shared.settings import Settings

_POLICY = '"key"'


@dataclass(frozen=True, slots=True)
class Quota:
    """So many requests of one key in so many seconds; none: as many as there are."""

    requests: int
    window_s: int


UNLIMITED = Quota(0, 0)


@dataclass(frozen=True, slots=True)
class Allowance:
    """What is left to a key. ``retry_after_s`` is None unless this request was refused."""

    remaining: int
    full_in_s: int
    retry_after_s: int | None = None

    @property
    def header(self) -> str:
        """The field RateLimit (draft-ietf-httpapi-ratelimit-headers-10)."""
        return f"{_POLICY};r={self.remaining};t={self.full_in_s}"


class RateLimiter:
    """The quota of every key; ``KeyRing.admit`` counts."""

    def __init__(self, settings: Settings) -> None:
        self.quota = Quota(settings.rate_limit, settings.rate_window_s)

    @property
    def policy(self) -> str:
        """The field RateLimit-Policy of the same draft."""
        return f"{_POLICY};q={self.quota.requests};w={self.quota.window_s}"


def allowance(counted: Sequence[str]) -> Allowance | None:
    """What the script ``authenticate`` has counted; None if there is no limit."""
    if not counted:
        return None
    remaining, full_in_s, *wait = counted
    wait_s = max(1, math.ceil(float(wait[0]))) if wait else None
    return Allowance(int(remaining), math.ceil(float(full_in_s)), wait_s)


def refusal(allowance: Allowance) -> RateLimited:
    """The problem for a request that was refused."""
    wait_s = allowance.retry_after_s or 1
    return RateLimited(f"This API key asks too often. Wait {wait_s} s.", wait_s)
