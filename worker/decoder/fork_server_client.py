"""The parent's side of the fork server: starts it, hands photos in, gets each child's exit back.

The fork server starts with a nearly empty environment and no memory of ours. It is started at the
first use, and again after it has died.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from shared.errors import Unavailable
from shared.process_control import import_path

_START_TIMEOUT_S = 60.0
_GRACE_S = 5.0  # beyond the time that the fork server gives a child
_MESSAGE_BYTES = 4096
#: The request for one photo, with three descriptors.
REQUEST = b"decode"
_ENVIRONMENT = {"LC_ALL": "C.UTF-8", "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
_PROGRAM = f"""
import json, sys
config = json.loads(sys.argv[1])
sys.path[:] = config["path"]
from {__package__}.fork_server import main
main(config)
"""


@dataclass(frozen=True, slots=True)
class ChildExit:
    """The exit code of a child (negative: the number of a signal) and its CPU time.

    ``overdue``: the fork server killed it; ``starved``: although it had not had its time, because
    the machine was busy.
    """

    exit_code: int
    cpu_s: float
    overdue: bool
    starved: bool


class ForkServerClient:
    """Thread-safe."""

    def __init__(self, config: Mapping[str, Any], max_wait_s: float) -> None:
        """``config`` is for ``fork_server.main``; ``max_wait_s``: the longest life of a child."""
        self._config = dict(config)
        self._timeout_s = max_wait_s + _GRACE_S
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._control: socket.socket | None = None
        self.gaps: tuple[str, ...] = ()  # what the sandbox does not confine here

    def start(self) -> None:
        """Start the fork server unless it runs. Raises Unavailable if that is impossible."""
        with self._lock:
            self._running()

    def decode(self, photo: int, result: int) -> ChildExit:
        """Have the memory file ``photo`` decoded into ``result``; wait for the child's exit.

        Raises Unavailable if the fork server dies first.
        """
        ours, theirs = socket.socketpair(socket.AF_UNIX)
        with ours:
            with theirs:
                process = self._send([photo, result, theirs.fileno()])
            ours.settimeout(self._timeout_s)
            try:
                reply = ours.recv(_MESSAGE_BYTES)
            except TimeoutError:
                reply = b""
        if not reply:
            self._stop_if_current(process)
            raise Unavailable("the photo decoder was lost while it read the photo")
        return ChildExit(**json.loads(reply))

    def close(self) -> None:
        """End the fork server and all its children. The next ``decode`` starts it again."""
        with self._lock:
            self._stop()

    @property
    def pid(self) -> int | None:
        """None while the fork server does not run."""
        process = self._process
        return process.pid if process is not None and process.poll() is None else None

    def _send(self, fds: list[int]) -> subprocess.Popen[bytes]:
        with self._lock:
            process, control = self._running()
            try:
                socket.send_fds(control, [REQUEST], fds)
            except OSError as error:  # it has just died, or hangs
                self._stop()
                raise Unavailable(f"the photo decoder accepts no photo: {error}") from None
            return process

    def _stop_if_current(self, process: subprocess.Popen[bytes]) -> None:
        """Stop this fork server, unless another thread has already started a new one."""
        with self._lock:
            if self._process is process:
                self._stop()

    def _running(self) -> tuple[subprocess.Popen[bytes], socket.socket]:
        """Return the running fork server, started if necessary. Called with the lock held."""
        if self._process is not None and self._control is not None:
            if self._process.poll() is None:
                return self._process, self._control
            self._stop()
        return self._start()

    def _start(self) -> tuple[subprocess.Popen[bytes], socket.socket]:
        ours, theirs = socket.socketpair(socket.AF_UNIX)
        with theirs:
            try:
                process = self._spawn(theirs.fileno())
            except OSError as error:
                ours.close()
                raise Unavailable(f"the photo decoder does not start: {error}") from None
        self._process, self._control = process, ours
        first_message = _first_message(ours)
        if "gaps" not in first_message:
            self._stop()
            exit_code = process.returncode
            why = first_message.get("error") or f"it ended with {exit_code}; see standard error"
            raise Unavailable(f"the photo decoder does not start: {why}")
        self.gaps = tuple(first_message["gaps"])
        ours.settimeout(self._timeout_s)
        return process, ours

    def _spawn(self, control: int) -> subprocess.Popen[bytes]:
        path = [str(Path(entry).absolute()) for entry in import_path()]
        config = json.dumps({**self._config, "path": path, "control": control})
        return subprocess.Popen(  # noqa: S603  # our own command line
            [sys.executable, "-I", "-B", "-c", _PROGRAM, config],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            env=_ENVIRONMENT,
            cwd=os.sep,
            pass_fds=[control],
            start_new_session=True,  # signals for our process group must not reach it
        )

    def _stop(self) -> None:
        process, control = self._process, self._control
        self._process = self._control = None
        if control is not None:
            control.close()
        if process is not None:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            process.wait()


def _first_message(control: socket.socket) -> dict[str, Any]:
    """Wait for what the fork server says after its start; empty if it dies or says nothing."""
    control.settimeout(_START_TIMEOUT_S)
    try:
        message: dict[str, Any] = json.loads(control.recv(_MESSAGE_BYTES) or b"{}")
    except OSError:
        return {}
    return message
