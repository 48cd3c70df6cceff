"""One time limit for all Redis and S3 calls of a request together.

A time limit for each call is not enough: a request makes several calls, and a client waits for
their sum. Other time (reading a body, holding a long poll) does not count. A process that serves no
requests starts no deadline, and nothing changes for it.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Literal

from shared.errors import Unavailable
from shared.redis.circuit_breaker import CircuitBreaker

Server = Literal["redis", "s3"]

#: A failure after so long is a timeout. A refused connection fails sooner, and needs no breaker.
_TIMEOUT_S = 0.2
#: Sockets accept no timeout of zero, and a call that has begun gets a chance to end.
_MIN_S = 0.001


class RequestDeadline:
    """One for each process: how long a request may wait, and the circuit breakers."""

    def __init__(self, total_s: float) -> None:
        self._total_s = total_s
        self._breakers: dict[Server, CircuitBreaker] = {
            "redis": CircuitBreaker(),
            "s3": CircuitBreaker(),
        }

    @contextmanager
    def start(self, share: float = 1.0) -> Iterator[None]:
        """Give the block a new budget: ``share`` of the time that a request has."""
        token = _current.set(_Budget(self._total_s * share, self._breakers))
        try:
            yield
        finally:
            _current.reset(token)


class _Budget:
    """The waiting time that is left to one request."""

    def __init__(self, seconds: float, breakers: dict[Server, CircuitBreaker]) -> None:
        self._left_s = seconds
        self._until: float | None = None  # set while the request waits for a call
        self.breakers = breakers

    @property
    def counting(self) -> bool:
        return self._until is not None

    def left_s(self) -> float:
        return self._left_s if self._until is None else self._until - time.monotonic()

    def check(self, server: Server) -> None:
        """Raises Unavailable if no time is left, or if the circuit of ``server`` is open."""
        if self.left_s() <= 0:
            raise Unavailable("The request has no time left to wait for the server")
        self.breakers[server].check()

    def start(self, at_s: float) -> None:
        self._until = at_s + self._left_s

    def stop(self) -> None:
        self._left_s, self._until = self.left_s(), None


_current: ContextVar[_Budget | None] = ContextVar("request_budget", default=None)


class waiting:  # noqa: N801  # used as a function, like ``contextlib.suppress``
    """Count the time of the block as waiting for ``server``, and name it in each Unavailable.

    Raises Unavailable, and does not enter the block, if no time is left or the server's circuit is
    open. A class, because a request enters it ten times, and a generator costs three times as much.
    """

    __slots__ = ("_began_s", "_budget", "_server")

    def __init__(self, server: Server) -> None:
        self._server: Server = server
        self._budget: _Budget | None = None  # set while this block counts
        self._began_s = 0.0

    def __enter__(self) -> None:
        budget = _current.get()
        if budget is None or budget.counting:
            return
        try:
            budget.check(self._server)
        except Unavailable as error:
            error.part = error.part or self._server
            raise
        self._budget, self._began_s = budget, time.monotonic()
        budget.start(self._began_s)

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        timed_out = False
        if isinstance(error, Unavailable):
            error.part = error.part or self._server
            timed_out = time.monotonic() - self._began_s > _TIMEOUT_S
        if self._budget is not None:
            self._budget.stop()
            self._budget.breakers[self._server].record(timed_out=timed_out)


def limit_s(longest_s: float) -> float:
    """Return ``longest_s``, or the time left to the request if that is less; always above 0."""
    budget = _current.get()
    return longest_s if budget is None else max(_MIN_S, min(longest_s, budget.left_s()))
