"""The nursery as its owner sees it: a warm process that reads each photo in a child of its own.

It starts with next to no environment and nothing of ours in memory, is given memory files, and
answers how the child ended. It is started when it is first needed and again when it is gone.
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

_START_S = 60.0
_GRACE_S = 5.0  # beyond the time that the nursery itself gives a child
_MESSAGE_BYTES = 4096
_ENVIRONMENT = {"LC_ALL": "C.UTF-8", "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
_BOOT = """
import json, sys
orders = json.loads(sys.argv[1])
sys.path[:] = orders["path"]
from worker.decoder.fork_server_process import main
main(orders)
"""


@dataclass(frozen=True, slots=True)
class Ending:
    """How a child ended: its exit code or, negative, its signal, and the CPU time it took.

    ``overdue``: the nursery ended it; ``starved``: although it had not been let run for its time.
    """

    exit_code: int
    cpu_s: float
    overdue: bool
    starved: bool


class Nursery:
    """Safe to call from many threads at once."""

    def __init__(self, orders: Mapping[str, Any], patience_s: float) -> None:
        """``orders`` are for ``nursery_process.main``; ``patience_s``: a child's time at most."""
        self._orders = dict(orders)
        self._patience_s = patience_s + _GRACE_S
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._control: socket.socket | None = None
        self.filtered = False

    def start(self) -> None:
        """Nothing to do while it runs. Raises Unavailable when it cannot be started."""
        with self._lock:
            self._ensure()

    def read(self, photo: int, parcel: int) -> Ending:
        """Have the photo in one memory file read into the other, and wait for the child's end.

        Raises Unavailable when nursery and child are gone before.
        """
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with ours:
            with theirs:
                process = self._hand_in([photo, parcel, theirs.fileno()])
            ours.settimeout(self._patience_s)
            try:
                said = ours.recv(_MESSAGE_BYTES)
            except TimeoutError:
                said = b""
        if not said:
            self._give_up(process)
            raise Unavailable("the photo decoder was lost while it read the photo")
        return Ending(**json.loads(said))

    def close(self) -> None:
        """End it, and with it all of its children. It starts again when it is needed."""
        with self._lock:
            self._stop()

    @property
    def pid(self) -> int | None:
        """None while it does not run."""
        process = self._process
        return process.pid if process is not None and process.poll() is None else None

    def _hand_in(self, fds: list[int]) -> subprocess.Popen[bytes]:
        with self._lock:
            process, control = self._ensure()
            try:
                socket.send_fds(control, [b"read"], fds)
            except OSError as error:  # it died since, or does not listen any more
                self._stop()
                raise Unavailable(f"the photo decoder takes nothing: {error}") from None
            return process

    def _give_up(self, process: subprocess.Popen[bytes]) -> None:
        """Stop this very nursery, unless another thread has put a new one in its place."""
        with self._lock:
            if self._process is process:
                self._stop()

    def _ensure(self) -> tuple[subprocess.Popen[bytes], socket.socket]:
        if self._process is not None and self._control is not None:
            if self._process.poll() is None:
                return self._process, self._control
            self._stop()
        return self._spawn()

    def _spawn(self) -> tuple[subprocess.Popen[bytes], socket.socket]:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            try:
                process = self._boot(theirs.fileno())
            except OSError as error:
                ours.close()
                raise Unavailable(f"the photo decoder does not start: {error}") from None
        self._process, self._control = process, ours
        ready = _first_words(ours)
        if "filtered" not in ready:
            self._stop()
            why = ready.get("error") or f"it ended with {process.returncode}; see standard error"
            raise Unavailable(f"the photo decoder does not start: {why}")
        self.filtered = bool(ready["filtered"])
        ours.settimeout(self._patience_s)
        return process, ours

    def _boot(self, control: int) -> subprocess.Popen[bytes]:
        path = [str(Path(entry).absolute()) for entry in sys.path]
        orders = json.dumps({**self._orders, "path": path, "control": control})
        return subprocess.Popen(  # noqa: S603  # our own command line
            [sys.executable, "-I", "-B", "-c", _BOOT, orders],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            env=_ENVIRONMENT,
            cwd=os.sep,
            pass_fds=[control],
            start_new_session=True,  # signals meant for us are not meant for it
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


def _first_words(control: socket.socket) -> dict[str, Any]:
    control.settimeout(_START_S)
    try:
        said: dict[str, Any] = json.loads(control.recv(_MESSAGE_BYTES) or b"{}")
    except OSError:
        return {}
    return said
