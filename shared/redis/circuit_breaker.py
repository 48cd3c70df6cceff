"""A circuit breaker: after several timeouts in a row, calls fail at once for a while.

Without it each request would wait, one after the other, for a server that does not respond.
"""

from __future__ import annotations

import threading
import time

from shared.errors import Unavailable

#: So many timeouts in a row open the circuit. Then one call in so many seconds tries again.
_MAX_TIMEOUTS, _TRY_EVERY_S = 3, 1.0


class CircuitBreaker:
    """Thread-safe; one for each server."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._timeouts = 0
        self._try_at = 0.0

    def check(self) -> None:
        """Raises Unavailable if the circuit is open and another call tried less than 1 s ago."""
        with self._lock:
            if self._timeouts < _MAX_TIMEOUTS:
                return
            if time.monotonic() < self._try_at:
                raise Unavailable("The server did not respond a moment ago")
            self._try_at = time.monotonic() + _TRY_EVERY_S

    def record(self, *, timed_out: bool) -> None:
        """Count a timeout; any other result closes the circuit."""
        with self._lock:
            self._timeouts = self._timeouts + 1 if timed_out else 0
            if self._timeouts == _MAX_TIMEOUTS:
                self._try_at = time.monotonic() + _TRY_EVERY_S
