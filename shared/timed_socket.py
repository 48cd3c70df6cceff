"""Time limits of blocking sockets, kept by the kernel.

Python's own time limits (``settimeout``) need two more system calls each time that a socket sends
or receives. At each of them a thread releases the interpreter lock and has to wait for it again.
"""

from __future__ import annotations

import math
import socket
import struct
from typing import Any, Literal, Self

_OPTIONS = {"receive": socket.SO_RCVTIMEO, "send": socket.SO_SNDTIMEO}


def limit(opened: socket.socket, what: Literal["receive", "send"], seconds: float) -> None:
    """Make each call that waits longer raise BlockingIOError."""
    microseconds = 0 if math.isinf(seconds) else max(1_000, int(seconds * 1e6))  # 0: never
    value = struct.pack("@ll", *divmod(microseconds, 1_000_000))
    opened.setsockopt(socket.SOL_SOCKET, _OPTIONS[what], value)


class TimedSocket(socket.socket):
    """A socket whose ``settimeout``, ``sendall`` and ``recv…`` cost fewer system calls."""

    _limit_s: float | None = None  # None: no limit; 0: do not wait

    @classmethod
    def on(cls, plain: socket.socket) -> Self:
        """Take over a connected socket and its time limit."""
        limit_s = plain.gettimeout()
        plain.settimeout(None)
        timed = cls(plain.family, plain.type, plain.proto, fileno=plain.detach())
        timed.settimeout(limit_s)
        return timed

    def gettimeout(self) -> float | None:
        return self._limit_s

    def settimeout(self, seconds: float | None) -> None:
        if seconds == self._limit_s:
            return
        if not seconds or not self._limit_s:
            super().settimeout(None if seconds else seconds)
        limit(self, "receive", seconds or math.inf)
        limit(self, "send", seconds or math.inf)
        self._limit_s = seconds

    def sendall(self, *args: Any) -> None:
        try:
            super().sendall(*args)
        except BlockingIOError as error:
            raise self._timeout(error) from None

    def recv(self, *args: Any) -> bytes:
        try:
            return super().recv(*args)
        except BlockingIOError as error:
            raise self._timeout(error) from None

    def recv_into(self, *args: Any) -> int:
        try:
            return super().recv_into(*args)
        except BlockingIOError as error:
            raise self._timeout(error) from None

    def _timeout(self, error: OSError) -> OSError:
        return TimeoutError("timed out") if self._limit_s else error
