"""Time limits that the kernel keeps."""

from __future__ import annotations

import socket
import threading
import time

import pytest

from shared.timed_socket import TimedSocket, limit


def test_a_call_that_waits_longer_ends() -> None:
    near, far = socket.socketpair()
    with near, far:
        limit(near, "receive", 0.05)
        limit(near, "send", 0.05)
        with pytest.raises(BlockingIOError):
            near.recv(1)
        with pytest.raises(BlockingIOError):
            near.sendall(bytes(100_000_000))


def test_a_limit_of_no_time_is_a_moment_and_not_for_ever() -> None:
    near, far = socket.socketpair()
    with near, far:
        limit(near, "receive", -1)
        began = time.monotonic()
        with pytest.raises(BlockingIOError):
            near.recv(1)
        assert time.monotonic() - began < 1


def test_a_timed_socket_times_out() -> None:
    near, far = socket.socketpair()
    near.settimeout(0.05)
    with TimedSocket.on(near) as timed, far:
        assert timed.gettimeout() == 0.05
        with pytest.raises(TimeoutError):
            timed.recv_into(bytearray(1))
        with pytest.raises(TimeoutError):
            timed.recv(1)
        with pytest.raises(TimeoutError):
            timed.sendall(bytes(100_000_000))


def test_a_timed_socket_can_switch_between_not_waiting_and_waiting() -> None:
    near, far = socket.socketpair()
    with TimedSocket.on(near) as timed, far:
        timed.settimeout(0)
        with pytest.raises(BlockingIOError):
            timed.recv_into(bytearray(1))
        timed.settimeout(5)
        threading.Timer(0.05, far.sendall, [b"x"]).start()
        assert timed.recv_into(bytearray(1)) == 1


def test_a_timed_socket_without_a_limit_waits_on() -> None:
    near, far = socket.socketpair()
    with TimedSocket.on(near) as timed, far:
        timed.settimeout(0.02)
        timed.settimeout(None)
        threading.Timer(0.1, far.sendall, [b"x"]).start()
        assert timed.recv_into(bytearray(1)) == 1
