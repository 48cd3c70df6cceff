"""How long a request waits for Redis and S3: one budget for all its calls together.

A time limit for each call is not enough: a request makes several, and a client waits for their
sum. What a request does meanwhile (reads a body, holds a long poll) costs nothing here. Processes
that serve nobody at the moment bind no budget, and nothing changes for them.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Literal

from shared.errors import Unavailable

Part = Literal["redis", "s3"]

#: A failure that took so long is silence; a refusal comes at once and needs no fuse.
_SILENCE_S = 0.2
#: So many silent calls in a row blow a fuse; then one call in so many seconds tries again.
_SILENT_CALLS, _TRY_EVERY_S = 3, 1.0
#: Sockets take no timeout of zero, and a call that has begun is not cut off before it could end.
_LEAST_S = 0.001


class Patience:
    """Of one process: what each request may wait, and which parts are known to be silent."""

    def __init__(self, total_s: float) -> None:
        self._total_s = total_s
        self._fuses: dict[Part, _Fuse] = {"redis": _Fuse(), "s3": _Fuse()}

    @contextmanager
    def fresh(self, share: float = 1.0) -> Iterator[None]:
        """Bind a new budget for the block: ``share`` of what a request has."""
        token = _bound.set(_Budget(self._total_s * share, self._fuses))
        try:
            yield
        finally:
            _bound.reset(token)


class _Budget:
    def __init__(self, seconds: float, fuses: dict[Part, _Fuse]) -> None:
        self._left_s = seconds
        self._until: float | None = None  # while a call is being waited for
        self.fuses = fuses

    @property
    def counting(self) -> bool:
        return self._until is not None

    def left_s(self) -> float:
        return self._left_s if self._until is None else self._until - time.monotonic()

    def start(self, at_s: float) -> None:
        self._until = at_s + self._left_s

    def stop(self) -> None:
        self._left_s, self._until = self.left_s(), None


class _Fuse:
    """Keeps requests from waiting, one after the other, for what does not answer."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._silent = 0
        self._try_at = 0.0

    def check(self) -> None:
        """Raises Unavailable if it is blown and somebody else has tried within the second."""
        with self._lock:
            if self._silent < _SILENT_CALLS:
                return
            if time.monotonic() < self._try_at:
                raise Unavailable("It was silent a moment ago")
            self._try_at = time.monotonic() + _TRY_EVERY_S

    def note(self, *, silent: bool) -> None:
        with self._lock:
            self._silent = self._silent + 1 if silent else 0
            if self._silent == _SILENT_CALLS:
                self._try_at = time.monotonic() + _TRY_EVERY_S


_bound: ContextVar[_Budget | None] = ContextVar("patience", default=None)


@contextmanager
def waiting(part: Part) -> Iterator[None]:
    """Count the block as waiting for ``part``.

    Raises Unavailable without entering it when nothing is left to wait, or the part was silent
    a moment ago.
    """
    budget = _bound.get()
    if budget is None or budget.counting:
        yield
        return
    if budget.left_s() <= 0:
        raise Unavailable("No time is left to wait for it")
    fuse = budget.fuses[part]
    fuse.check()
    began = time.monotonic()
    silent = False
    budget.start(began)
    try:
        yield
    except Unavailable:
        silent = time.monotonic() - began > _SILENCE_S
        raise
    finally:
        budget.stop()
        fuse.note(silent=silent)


def limit_s(longest_s: float) -> float:
    """``longest_s``, or what is left of the budget if that is less; always more than 0."""
    budget = _bound.get()
    return longest_s if budget is None else max(_LEAST_S, min(longest_s, budget.left_s()))
