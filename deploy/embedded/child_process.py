"""One child process: started so that it cannot outlive its parent, its output in a log file."""

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

# The kernel sends the child SIGTERM when its parent dies, however it dies. Set between fork and
# exec by a small Python of its own: subprocess' preexec_fn is unsafe once the parent has threads.
_TIED = """
import ctypes, os, signal, sys
if sys.platform == "linux":
    ctypes.CDLL(None).prctl(1, signal.SIGTERM)  # PR_SET_PDEATHSIG
    if os.getppid() != int(sys.argv[1]):
        sys.exit("the parent is gone already")
os.execvpe(sys.argv[2], sys.argv[2:], os.environ)
"""
# Below the range that the kernel hands out by itself (32768…), with room for a twin port + 10000.
_PORTS = range(10_240, 22_000)
_TRIES = 4  # a port may be grabbed by somebody else between our look and the server's start
#: How long a server may take to be ready.
READY_S = 60.0
_random = SystemRandom()
_living: weakref.WeakSet[Child] = weakref.WeakSet()


def free_port(preferred: int | None = None) -> int:
    """Find a loopback port on which nobody listens, nor on the port 10,000 above it.

    SeaweedFS opens such a twin for each of its ports. ``preferred`` is taken when it is free.
    Another process may still grab it first, so whoever uses it must check afterwards.
    """
    candidates = [preferred] if preferred else []
    for port in (*candidates, *_random.sample(_PORTS, 200)):
        if _is_free(port) and _is_free(port + 10_000):
            return port
    raise StackFailed("no free loopback port between 10240 and 22000")


class Begin(Protocol):
    def __call__(self, *, first: bool) -> None: ...


def try_ports(begin: Begin, stop: Callable[[], None]) -> None:
    """Start a server, on its remembered ports first, then on others. Raises the last failure."""
    for tries_left in reversed(range(_TRIES)):
        try:
            begin(first=tries_left == _TRIES - 1)
        except StackFailed:
            stop()
            if not tries_left:
                raise
        else:
            return


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except (OSError, OverflowError):
            return False
    return True


class Child:
    """A process group with one leader. Not thread-safe; start it from a thread that stays."""

    def __init__(
        self,
        name: str,
        argv: Sequence[str],
        *,
        folder: Path,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
    ) -> None:
        """``folder`` takes ``<name>.log``; ``env`` is the whole environment (None: ours)."""
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
        """Start it. Raises StackFailed when the log cannot be written or Python not be run."""
        if self.running:
            raise StackFailed(f"{self.name} is running already")
        argv = [sys.executable, "-I", "-S", "-c", _TIED, str(os.getpid()), *self._argv]
        try:
            self.log_path.parent.mkdir(parents=True, exist_ok=True)
            with self.log_path.open("ab") as log:
                self._process = subprocess.Popen(  # noqa: S603  # our own command lines
                    argv,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    env=self._env,
                    cwd=self._cwd,
                    start_new_session=True,  # Ctrl-C reaches us alone; we stop them in order
                )
        except OSError as error:
            raise StackFailed(f"{self.name} cannot be started: {error}") from None
        _living.add(self)

    def wait_until(self, ready: Callable[[], bool], *, timeout_s: float) -> None:
        """Poll ``ready`` until it is true. Raises StackFailed on exit or when time is up."""
        deadline = time.monotonic() + timeout_s
        while not ready():
            if not self.running:
                raise StackFailed(f"{self.name} ended with {self.exit_code}:\n{self.log_tail()}")
            if time.monotonic() > deadline:
                raise StackFailed(f"{self.name} not ready in {timeout_s:.0f} s:\n{self.log_tail()}")
            time.sleep(0.02)

    def signal(self, number: int) -> None:
        """Send the leader a signal; nothing happens when it is gone."""
        if self.running and self._process is not None:
            self._process.send_signal(number)

    def kill(self) -> None:
        """SIGKILL for the whole group, and wait: the machine failing, as the tests need it."""
        if self._process is not None:
            self.kill_group()
            self._process.wait()

    def stop(self, grace_s: float = 10.0) -> None:
        """SIGTERM, then SIGKILL after ``grace_s``; what is left of its group goes too."""
        if self._process is None or self not in _living:
            return
        self.signal(signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout=grace_s)
        self.kill_group()
        self._process.wait()
        _living.discard(self)

    def log_tail(self, lines: int = 15) -> str:
        if not self.log_path.exists():
            return ""
        return "\n".join(self.log_path.read_text(errors="replace").splitlines()[-lines:])

    def kill_group(self) -> None:
        """SIGKILL for the whole group, without waiting: safe in a signal handler."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)


@atexit.register
def _stop_all() -> None:
    for child in list(_living):
        child.stop(grace_s=5)
