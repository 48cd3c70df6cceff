"""Pins: tenants whose jobs go to one pool, whatever pools their models name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from shared.redis.client import redis_errors
from shared.redis.keys import redis_key
from shared.redis.scripts import Scripts

_KEY = redis_key("pins")


class Pins:
    """Every method raises Unavailable if Redis cannot serve.

    Each request reads the pin of its tenant with its API key, so a pin holds for the next job. Jobs
    that wait stay in the pool in which they are.
    """

    def __init__(self, scripts: Scripts) -> None:
        self._redis = scripts.client

    def all(self) -> dict[str, str]:
        """Return the pool of each tenant that is pinned."""
        with redis_errors():
            found: Any = self._redis.hgetall(_KEY)
        return cast("dict[str, str]", found)

    def pin(self, tenant: str, pool: str) -> None:
        """Send all new jobs of a tenant to a pool."""
        with redis_errors():
            self._redis.hset(_KEY, tenant, pool)

    def restore(self, pins: Mapping[str, str]) -> None:
        """Pin tenants that are not pinned, as a backup has them."""
        with redis_errors(), self._redis.pipeline(transaction=False) as pipe:
            for tenant, pool in pins.items():
                pipe.hsetnx(_KEY, tenant, pool)
            pipe.execute()

    def unpin(self, tenant: str) -> None:
        """Let the models of a tenant choose again."""
        with redis_errors():
            self._redis.hdel(_KEY, tenant)
