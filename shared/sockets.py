"""Time limits of blocking sockets, kept by the kernel.

Python's own (``settimeout``) cost two more calls of the system for each that sends or receives, and
at each of them a thread gives up the interpreter and has to wait for it again.
"""

from __future__ import annotations

import socket
import struct
from typing import Literal

_OPTIONS = {"receive": socket.SO_RCVTIMEO, "send": socket.SO_SNDTIMEO}


def limit(opened: socket.socket, what: Literal["receive", "send"], seconds: float) -> None:
    """End each call that waits longer with BlockingIOError."""
    whole, part = divmod(max(1_000, int(seconds * 1e6)), 1_000_000)  # 0 would mean: none
    opened.setsockopt(socket.SOL_SOCKET, _OPTIONS[what], struct.pack("@ll", whole, part))
