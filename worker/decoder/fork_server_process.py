"""The nursery from the inside: loads the decoder once, then forks a child for each photo.

It never looks at a photo itself. One thread, one loop: a request comes with the photo's memory
file, an empty one for the answer, and a socket on which the child's end is told. When its owner is
gone, so is the nursery, and with it every child.
"""

from __future__ import annotations

import importlib
import json
import os
import select
import signal
import socket
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from worker.decoder.child import Cradle
from worker.decoder.fork_server import Ending
from worker.decoder.kernel import fork
from worker.decoder.sandbox import Bounds
from worker.decoder.seccomp import Filter
from worker.imaging.limits import Limits

_TICK_S = 0.1
_LATE_S = 0.5  # a tick that took longer: we were not let run ourselves
_FDS = 3


def main(orders: Mapping[str, Any]) -> None:
    """Serve until the owner's end of the control socket is closed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    control = socket.socket(fileno=orders["control"])
    with suppress(OSError):  # the first to go when memory runs out
        Path("/proc/self/oom_score_adj").write_text("1000")
    module, _, name = orders["read"].partition(":")
    cradle = Cradle(
        read=getattr(importlib.import_module(module), name),
        limits=Limits(**orders["limits"]),
        bounds=Bounds(**orders["bounds"]),
        allowed=Filter.in_force(),
    )
    failed = cradle.rehearse()
    if failed:
        control.send(json.dumps({"error": f"{failed} cannot be read in the sandbox"}).encode())
        return
    control.send(json.dumps({"filtered": cradle.allowed is not None}).encode())
    _Loop(control, cradle).run()


@dataclass
class _Child:
    """``starved``: it was ended although it had not had its time."""

    reply: socket.socket
    awake_s: float = 0
    overdue: bool = False
    starved: bool = False

    def has_had(self, passed_s: float, waited_s: float, bounds: Bounds) -> bool:
        """Is its time up? What it waited for a processor counts only against our patience."""
        self.awake_s += passed_s
        self.starved = self.awake_s - waited_s < bounds.wall_s
        return not self.starved or self.awake_s >= bounds.patience_s

    def tell(self, exit_code: int, cpu_s: float) -> None:
        """The last that is heard of it."""
        ending = Ending(exit_code, cpu_s, self.overdue, self.overdue and self.starved)
        with self.reply, suppress(OSError):  # who asked may be gone
            self.reply.send(json.dumps(asdict(ending)).encode())


class _Loop:
    def __init__(self, control: socket.socket, cradle: Cradle) -> None:
        self._control, self._cradle = control, cradle
        self._living: dict[int, _Child] = {}
        self._bell = _bell_for_deaths()
        self._poll = select.poll()
        for fd in (control.fileno(), self._bell):
            self._poll.register(fd, select.POLLIN)

    def run(self) -> None:
        before_s = time.monotonic()
        while True:
            ready = {fd for fd, _ in self._poll.poll(1000 * _TICK_S if self._living else None)}
            now_s = time.monotonic()
            # While all of us were stopped, no child had its chance.
            self._end_overdue(min(now_s - before_s, _LATE_S))
            before_s = now_s
            if self._bell in ready:
                os.read(self._bell, 4096)
                self._bury()
            if self._control.fileno() in ready and not self._take():
                return

    def _take(self) -> bool:
        """A new photo; False: the owner is gone."""
        message, fds, _, _ = socket.recv_fds(self._control, 64, _FDS)
        if len(fds) != _FDS:
            for fd in fds:
                os.close(fd)
            return bool(message)
        photo, answer = fds[:2]
        child = _Child(socket.socket(fileno=fds[2]))
        try:
            nursery = os.getpid()
            self._living[fork(lambda: self._cradle.hatch(nursery, photo, answer))] = child
        except OSError:  # no room for one more process
            child.overdue = child.starved = True
            child.tell(-signal.SIGKILL, 0)
        finally:
            os.close(photo)
            os.close(answer)
        return True

    def _end_overdue(self, passed_s: float) -> None:
        for pid, child in self._living.items():
            if child.has_had(passed_s, _waited_s(pid), self._cradle.bounds) and not child.overdue:
                child.overdue = True
                os.kill(pid, signal.SIGKILL)

    def _bury(self) -> None:
        while self._living:
            pid, status, usage = os.wait4(-1, os.WNOHANG)
            if pid == 0:
                return
            exit_code = os.waitstatus_to_exitcode(status)
            self._living.pop(pid).tell(exit_code, usage.ru_utime + usage.ru_stime)


def _bell_for_deaths() -> int:
    """A pipe's end that can be read when a child has ended."""
    bell, clapper = os.pipe()
    os.set_blocking(clapper, False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(clapper, warn_on_full_buffer=False)
    return bell


def _waited_s(pid: int) -> float:
    """How long it could have run and was not let; 0 where the kernel does not say."""
    try:
        return int(Path(f"/proc/{pid}/schedstat").read_text().split()[1]) / 1e9
    except (OSError, ValueError, IndexError):
        return 0.0
