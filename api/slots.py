"""Bounds on what clients hold at the same time: streams, waiting requests, bodies on their way."""

from __future__ import annotations

from collections import Counter
from threading import Lock


class Slots:
    """``total`` slots for all, at most ``each`` for one holder (a tenant, a key, an address).

    Thread-safe. A slot may stand for anything that can be counted, bytes included.
    """

    def __init__(self, total: int, each: int) -> None:
        self.total, self.each = total, each
        self._lock = Lock()
        self._taken: Counter[str] = Counter()
        self._taken_in_all = 0

    def acquire(self, holder: str, count: int = 1) -> bool:
        """Take ``count`` slots; False, and nothing is taken, if there are not so many left."""
        with self._lock:
            if self._taken_in_all + count > self.total or self._taken[holder] + count > self.each:
                self._drop(holder)
                return False
            self._taken[holder] += count
            self._taken_in_all += count
            return True

    def release(self, holder: str, count: int = 1) -> None:
        with self._lock:
            self._taken[holder] -= count
            self._taken_in_all -= count
            self._drop(holder)

    @property
    def taken(self) -> int:
        return self._taken_in_all

    def _drop(self, holder: str) -> None:
        if not self._taken[holder]:
            del self._taken[holder]
