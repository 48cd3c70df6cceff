"""Who may be at the engine at the same time: jobs together, a suspect by itself."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count

_LOOK_S = 0.25


class Gate:
    """Suspects and the others take turns: nobody waits for ever.

    A suspect goes when nobody is there. After ``patience_s`` without such a moment, those who come
    later wait for it. When it leaves, all who were waiting go before the next suspect.
    """

    def __init__(self, patience_s: float = 5.0) -> None:
        self._patience_s = patience_s
        self._changed = threading.Condition()
        self._tickets = count()
        self._together: set[int] = set()  # waiting
        self._alone: dict[int, float] = {}  # waiting, since when
        self._inside = 0
        self._one_alone_inside = False
        self._served_to = -1  # tickets up to this one go before the next suspect

    @contextmanager
    def passing(self, check: Callable[[], None], *, alone: bool) -> Iterator[None]:
        """Wait for the turn, then be inside. Raises what ``check`` does while it waits."""
        self._enter(check, alone=alone)
        try:
            yield
        finally:
            self._leave(alone=alone)

    def _enter(self, check: Callable[[], None], *, alone: bool) -> None:
        with self._changed:
            ticket = next(self._tickets)
            may_enter = self._may_be_alone if alone else self._may_join
            if alone:
                self._alone[ticket] = time.monotonic()
            else:
                self._together.add(ticket)
            try:
                while not self._changed.wait_for(lambda: may_enter(ticket), _LOOK_S):
                    check()
                self._inside += 1
                self._one_alone_inside = alone
            finally:
                self._alone.pop(ticket, None)
                self._together.discard(ticket)
                self._changed.notify_all()

    def _leave(self, *, alone: bool) -> None:
        with self._changed:
            self._inside -= 1
            self._one_alone_inside = False
            if alone:
                self._served_to = max(self._together, default=-1)
            self._changed.notify_all()

    def _may_be_alone(self, ticket: int) -> bool:
        turn = ticket == min(self._alone) and not self._waiting_turn()
        return turn and self._inside == 0

    def _may_join(self, ticket: int) -> bool:
        if self._one_alone_inside:
            return False
        return ticket <= self._served_to or not self._patience_is_over()

    def _patience_is_over(self) -> bool:
        oldest = min(self._alone.values(), default=math.inf)
        return time.monotonic() - oldest >= self._patience_s

    def _waiting_turn(self) -> bool:
        return any(ticket <= self._served_to for ticket in self._together)
