"""Moves: tenants that are on their way from one cell to another (``facemend cells move``)."""

from __future__ import annotations

from enum import StrEnum
from typing import Any

from shared.errors import Unavailable
from shared.redis.client import redis_errors
from shared.redis.keys import redis_key
from shared.redis.scripts import Scripts

_KEY = redis_key("moving")
_RETRY_AFTER_S = 30


class MoveState(StrEnum):
    """Where a tenant is, as its record in one cell says."""

    LEAVING = "leaving"  # here; it is being copied to another cell, and nothing may change
    LEFT = "left"  # in another cell; what is still here is to be removed
    ARRIVING = "arriving"  # still in another cell; it is being copied to this one


class Moves:
    """Every method raises Unavailable if Redis cannot serve.

    Each request reads the state of its tenant with its API key.
    """

    def __init__(self, scripts: Scripts) -> None:
        self._redis = scripts.client

    def state(self, tenant: str) -> MoveState | None:
        with redis_errors():
            found: Any = self._redis.hget(_KEY, tenant)
        return MoveState(found) if found else None

    def all(self) -> dict[str, MoveState]:
        with redis_errors():
            found: Any = self._redis.hgetall(_KEY)
        return {tenant: MoveState(state) for tenant, state in found.items()}

    def mark(self, tenant: str, state: MoveState) -> None:
        with redis_errors():
            self._redis.hset(_KEY, tenant, state)

    def end(self, tenant: str) -> None:
        """The tenant is here, and may change things."""
        with redis_errors():
            self._redis.hdel(_KEY, tenant)


def check_may_serve(state: MoveState | None, *, reads: bool) -> None:
    """Raises Unavailable for a request of a tenant that this cell does not serve at the moment.

    ``reads``: the request changes nothing. It is served as long as the tenant is leaving.
    """
    if state is not None and not (reads and state is MoveState.LEAVING):
        raise Unavailable(
            "This tenant is being moved to another cell. Try again later.", _RETRY_AFTER_S
        )
