"""Time limits that the kernel keeps."""

from __future__ import annotations

import socket
import time

import pytest

from shared.sockets import limit


def test_a_call_that_waits_longer_ends() -> None:
    near, far = socket.socketpair()
    with near, far:
        limit(near, "receive", 0.05)
        limit(near, "send", 0.05)
        with pytest.raises(BlockingIOError):
            near.recv(1)
        with pytest.raises(BlockingIOError):
            near.sendall(bytes(100_000_000))


def test_no_time_left_is_a_moment_and_not_for_ever() -> None:
    near, far = socket.socketpair()
    with near, far:
        limit(near, "receive", -1)
        began = time.monotonic()
        with pytest.raises(BlockingIOError):
            near.recv(1)
        assert time.monotonic() - began < 1
