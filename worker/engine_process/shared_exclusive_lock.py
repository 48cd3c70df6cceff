"""A fair shared-exclusive lock: jobs share the engine process, a suspect job has it alone."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count

_POLL_S = 0.25


class SharedExclusiveLock:
    """Shared and exclusive holders take turns, so that none waits for ever. Thread-safe.

    An exclusive holder enters when there is no other. If it has waited for ``max_wait_s``, shared
    holders that come later wait for it. When it leaves, all who waited enter before the next
    exclusive one.
    """

    def __init__(self, max_wait_s: float = 5.0) -> None:
        self._max_wait_s = max_wait_s
        self._changed = threading.Condition()
        self._tickets = count()
        self._waiting_shared: set[int] = set()
        self._waiting_exclusive: dict[int, float] = {}  # ticket → waiting since
        self._holders = 0
        self._held_exclusively = False
        self._favoured_up_to = -1  # shared tickets up to this one enter before the next exclusive

    @contextmanager
    def hold(self, check: Callable[[], None], *, exclusive: bool) -> Iterator[None]:
        """Wait for the lock, hold it, release it. Raises what ``check`` raises while it waits."""
        self._acquire(check, exclusive=exclusive)
        try:
            yield
        finally:
            self._release(exclusive=exclusive)

    def _acquire(self, check: Callable[[], None], *, exclusive: bool) -> None:
        with self._changed:
            ticket = next(self._tickets)
            may_enter = self._may_enter_exclusive if exclusive else self._may_enter_shared
            if exclusive:
                self._waiting_exclusive[ticket] = time.monotonic()
            else:
                self._waiting_shared.add(ticket)
            try:
                while not self._changed.wait_for(lambda: may_enter(ticket), _POLL_S):
                    check()
                self._holders += 1
                self._held_exclusively = exclusive
            finally:
                self._waiting_exclusive.pop(ticket, None)
                self._waiting_shared.discard(ticket)
                self._changed.notify_all()

    def _release(self, *, exclusive: bool) -> None:
        with self._changed:
            self._holders -= 1
            self._held_exclusively = False
            if exclusive:
                self._favoured_up_to = max(self._waiting_shared, default=-1)
            self._changed.notify_all()

    def _may_enter_exclusive(self, ticket: int) -> bool:
        first = ticket == min(self._waiting_exclusive) and not self._favoured_wait()
        return first and self._holders == 0

    def _may_enter_shared(self, ticket: int) -> bool:
        if self._held_exclusively:
            return False
        return ticket <= self._favoured_up_to or not self._exclusive_has_waited_long()

    def _exclusive_has_waited_long(self) -> bool:
        oldest = min(self._waiting_exclusive.values(), default=math.inf)
        return time.monotonic() - oldest >= self._max_wait_s

    def _favoured_wait(self) -> bool:
        return any(ticket <= self._favoured_up_to for ticket in self._waiting_shared)
