"""The rate limit of API keys: a token bucket in Redis, shared by all API processes.

The bucket has as many tokens as the quota and fills evenly, so that the clients of a full window
do not all return at the same moment.
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
    """At most ``requests`` of one key in ``window_s`` seconds. 0 requests: no limit."""

    requests: int
    window_s: int


UNLIMITED = Quota(0, 0)


@dataclass(frozen=True, slots=True)
class Allowance:
    """What is left of a quota. ``retry_after_s`` is None unless this request was refused."""

    remaining: int
    full_in_s: int
    retry_after_s: int | None = None

    @property
    def header(self) -> str:
        """The header RateLimit (draft-ietf-httpapi-ratelimit-headers-10)."""
        return f"{_POLICY};r={self.remaining};t={self.full_in_s}"


class RateLimiter:
    """The quota of each API key. ``KeyRing.admit`` counts the requests."""

    def __init__(self, settings: Settings) -> None:
        self.quota = Quota(settings.rate_limit, settings.rate_window_s)

    @property
    def policy(self) -> str:
        """The header RateLimit-Policy of the same draft."""
        return f"{_POLICY};q={self.quota.requests};w={self.quota.window_s}"


def allowance(counted: Sequence[str]) -> Allowance | None:
    """Convert what the script ``authenticate`` returns. None: there is no limit."""
    if not counted:
        return None
    remaining, full_in_s, *wait = counted
    wait_s = max(1, math.ceil(float(wait[0]))) if wait else None
    return Allowance(int(remaining), math.ceil(float(full_in_s)), wait_s)


def refusal(allowance: Allowance) -> RateLimited:
    """Return the error for a request that was refused."""
    wait_s = allowance.retry_after_s or 1
    return RateLimited(f"This API key sends too many requests. Wait {wait_s} s.", wait_s)
