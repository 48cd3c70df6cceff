"""A clock that moves only when a test moves it, for the scripts and for keys that expire."""

from __future__ import annotations

from typing import Any, cast

from redis import Redis

from tests.shared.model.patched_scripts import CLOCK

_BEGIN_S = 1_800_000_000


class Clock:
    """The clock that patched scripts read instead of Redis' own."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._us = _BEGIN_S * 1_000_000
        self.show()

    @property
    def now(self) -> float:
        return self._us / 1_000_000

    def forward(self, seconds: float) -> None:
        self._us += round(seconds * 1_000_000)
        self.show()
        if seconds >= 1:
            self._age_keys(int(seconds))

    def show(self) -> None:
        seconds, micros = divmod(self._us, 1_000_000)
        self._redis.hset(CLOCK, mapping={"s": seconds, "us": micros})

    def _age_keys(self, seconds: int) -> None:
        """Shorten the time to live of keys, which Redis counts by its own clock."""
        names = cast("list[str]", self._redis.keys("fm:*"))
        with self._redis.pipeline(transaction=False) as pipe:
            for name in names:
                pipe.ttl(name)
            lives: list[Any] = pipe.execute()
            for name, life_s in zip(names, lives, strict=True):
                if life_s >= 0:
                    pipe.expire(name, max(life_s - seconds, 0))
            pipe.execute()
