"""A child process that dies with its parent, and whose output goes to a log file."""

from __future__ import annotations

import atexit
import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
import weakref
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from random import SystemRandom
from typing import Protocol, Self

from shared.errors import StackFailed
from shared.process_control import command_that_dies_with_us

# Below the kernel's own range (32768…), with room for a second port 10,000 above.
_PORTS = range(10_240, 22_000)
_MAX_RESERVED = 64  # the oldest are given up: their servers have started long ago
_ATTEMPTS = 4  # another process may take a port between our check and the server's start
#: Nobody but the user who started the stack may read the files of its processes.
PRIVATE_UMASK = 0o077
#: Seconds that a server may take to be ready.
READY_S = 60.0
_random = SystemRandom()
_reserved: dict[int, list[socket.socket]] = {}
_running: weakref.WeakSet[ChildProcess] = weakref.WeakSet()


def free_port(preferred: int | None = None) -> int:
    """Return a loopback port that is free, and so is the port 10,000 above it.

    SeaweedFS opens such a second port for each of its ports. ``preferred`` is returned if it is
    free. No other caller on this machine gets the port while its server starts. A foreign process
    may still take it first, so the caller must check afterwards. Raises StackFailed.
    """
    candidates = [preferred] if preferred else []
    for port in (*candidates, *_random.sample(_PORTS, 200)):
        ours = port in _reserved
        if ours and port != preferred:
            continue
        if is_free(port) and is_free(port + 10_000) and (ours or _reserve(port)):
            return port
    raise StackFailed("no free loopback port between 10240 and 22000")


def _reserve(port: int) -> bool:
    """Reserve the port among the processes that call this; return False if one of them has it.

    The name of an abstract socket is free again when its process ends, however it ends. Only Linux
    has such names; elsewhere nothing is reserved.
    """
    if sys.platform != "linux":
        return True
    markers = []
    for number in (port, port + 10_000):
        marker = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        markers.append(marker)
        try:
            marker.bind(f"\0facemend-port-{number}")
        except OSError:
            for each in markers:
                each.close()
            return False
    _reserved[port] = markers
    if len(_reserved) > _MAX_RESERVED:
        for marker in _reserved.pop(next(iter(_reserved))):
            marker.close()
    return True


class StartServer(Protocol):
    """Starts a server; ``first`` is true at the first attempt."""

    def __call__(self, *, first: bool) -> None: ...


def try_ports(start: StartServer, stop: Callable[[], None]) -> None:
    """Start a server, first on its saved ports, then on others. Raises the last StackFailed."""
    for attempts_left in reversed(range(_ATTEMPTS)):
        try:
            start(first=attempts_left == _ATTEMPTS - 1)
        except StackFailed:
            stop()
            if not attempts_left:
                raise
        else:
            return


def is_free(port: int) -> bool:
    """Return whether a server could listen on this loopback port now."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except (OSError, OverflowError):
            return False
    return True


class ChildProcess:
    """A process group with one leader. Not thread-safe.

    Start it from a thread that stays, because it dies with that thread.
    """

    def __init__(
        self,
        name: str,
        argv: Sequence[str],
        *,
        folder: Path,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
    ) -> None:
        """``folder`` is for ``NAME.log``; ``env`` is the whole environment (None: ours)."""
        self.name = name
        self.log_path = folder / f"{name}.log"
        self._argv = list(argv)
        self._env = None if env is None else dict(env)
        self._cwd = cwd
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self.stop()

    @property
    def pid(self) -> int:
        if self._process is None:
            raise StackFailed(f"{self.name} was not started")
        return self._process.pid

    @property
    def exit_code(self) -> int | None:
        """None while it runs; negative: the signal that ended it."""
        return None if self._process is None else self._process.poll()

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Start the process. Raises StackFailed if the log or the process cannot be opened."""
        if self.running:
            raise StackFailed(f"{self.name} is running already")
        argv = command_that_dies_with_us(self._argv)
        try:
            self.log_path.parent.mkdir(parents=True, exist_ok=True)
            with open(self.log_path, "ab", opener=_open_private) as log:
                self._process = subprocess.Popen(  # noqa: S603  # our own command lines
                    argv,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    env=self._env,
                    cwd=self._cwd,
                    start_new_session=True,  # Ctrl-C reaches us only; we stop our children in order
                    umask=PRIVATE_UMASK,
                )
        except OSError as error:
            raise StackFailed(f"{self.name} cannot be started: {error}") from None
        _running.add(self)

    def wait_until(self, ready: Callable[[], bool], *, timeout_s: float) -> None:
        """Poll ``ready`` until it is true. Raises StackFailed at an exit or when time is up."""
        deadline = time.monotonic() + timeout_s
        while not ready():
            if not self.running:
                raise StackFailed(f"{self.name} ended with {self.exit_code}:\n{self.log_tail()}")
            if time.monotonic() > deadline:
                raise StackFailed(f"{self.name} not ready in {timeout_s:.0f} s:\n{self.log_tail()}")
            time.sleep(0.02)

    def signal(self, number: int) -> None:
        """Send the leader a signal, unless it has exited."""
        if self.running and self._process is not None:
            self._process.send_signal(number)

    def kill(self) -> None:
        """Send SIGKILL to the whole group, and wait: the crash that tests need."""
        if self._process is not None:
            self.kill_group()
            self._process.wait()

    def stop(self, grace_s: float = 10.0) -> None:
        """Send SIGTERM, and after ``grace_s`` SIGKILL to what is left of the group."""
        if self._process is None or self not in _running:
            return
        self.signal(signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout=grace_s)
        self.kill_group()
        self._process.wait()
        _running.discard(self)

    def log_tail(self, lines: int = 15) -> str:
        """Return the last lines of the log; empty if there is no log."""
        if not self.log_path.exists():
            return ""
        return "\n".join(self.log_path.read_text(errors="replace").splitlines()[-lines:])

    def kill_group(self) -> None:
        """Send SIGKILL to the whole group without waiting: safe in a signal handler."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)


def _open_private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


@atexit.register
def _stop_all() -> None:
    for child in list(_running):
        child.stop(grace_s=5)
