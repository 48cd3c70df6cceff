"""The fork server of the decoder: loads the libraries once, then forks a child for each photo.

It never reads a photo itself. It has one thread and one loop. A request brings three descriptors:
the photo's memory file, an empty memory file for the result, and a socket for the exit of the
child. When its parent dies, the fork server exits, and all its children die with it.
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

from shared.process_control import be_first_to_be_killed_for_memory, fork
from worker.decoder.child import DecoderChild
from worker.decoder.fork_server_client import REQUEST, ChildExit
from worker.decoder.sandbox import DecodeBounds, gaps
from worker.decoder.seccomp import SyscallFilter
from worker.decoder.self_test import failed_sample
from worker.imaging import phone_formats
from worker.imaging.limits import Limits

_TICK_S = 0.1
_MAX_TICK_S = 0.5  # a longer tick means that this process itself was stopped
_FDS = 3


def main(config: Mapping[str, Any]) -> None:
    """Serve until the parent closes its end of the control socket."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    control = socket.socket(fileno=config["control"])
    be_first_to_be_killed_for_memory()
    module, _, name = config["decode"].partition(":")
    limits = Limits(**config["limits"])
    if limits.phone_formats:
        phone_formats.load()
    child = DecoderChild(
        decode=getattr(importlib.import_module(module), name),
        limits=limits,
        bounds=DecodeBounds(**config["bounds"]),
        syscall_filter=SyscallFilter.for_this_machine(threads=limits.phone_formats),
    )
    failed = failed_sample(child)
    if failed:
        control.send(json.dumps({"error": f"{failed} cannot be read in the sandbox"}).encode())
        return
    control.send(json.dumps({"gaps": gaps(child.syscall_filter)}).encode())
    ForkServer(control, child).run()


@dataclass
class _RunningChild:
    """``starved``: the child was killed although it had not had its time."""

    reply: socket.socket
    awake_s: float = 0
    overdue: bool = False
    starved: bool = False

    def has_used_its_time(self, passed_s: float, waited_s: float, bounds: DecodeBounds) -> bool:
        """Waiting for a processor counts against ``max_wait_s`` only."""
        self.awake_s += passed_s
        self.starved = self.awake_s - waited_s < bounds.wall_s
        return not self.starved or self.awake_s >= bounds.max_wait_s

    def report_exit(self, exit_code: int, cpu_s: float) -> None:
        """Send the exit to the client, as the last message about this child."""
        child_exit = ChildExit(exit_code, cpu_s, self.overdue, self.overdue and self.starved)
        with self.reply, suppress(OSError):  # the client may be gone
            self.reply.send(json.dumps(asdict(child_exit)).encode())


class ForkServer:
    """The loop: accepts photos, forks children, kills overdue ones, reports exits."""

    def __init__(self, control: socket.socket, child: DecoderChild) -> None:
        self._control, self._child = control, child
        self._running: dict[int, _RunningChild] = {}
        self._child_exited = _pipe_for_sigchld()
        self._poll = select.poll()
        for fd in (control.fileno(), self._child_exited):
            self._poll.register(fd, select.POLLIN)

    def run(self) -> None:
        """Serve until the client is gone."""
        before_s = time.monotonic()
        while True:
            ready = {fd for fd, _ in self._poll.poll(1000 * _TICK_S if self._running else None)}
            now_s = time.monotonic()
            # While this whole process group was stopped, no child could run either.
            self._kill_overdue(min(now_s - before_s, _MAX_TICK_S))
            before_s = now_s
            if self._child_exited in ready:
                os.read(self._child_exited, 4096)
                self._reap()
            if self._control.fileno() in ready and not self._accept():
                return

    def _accept(self) -> bool:
        """Fork a child for the next photo. Returns False if the client is gone."""
        message, fds, _, _ = socket.recv_fds(self._control, len(REQUEST), _FDS)
        if len(fds) != _FDS:
            for fd in fds:
                os.close(fd)
            return bool(message)
        photo, result = fds[:2]
        running = _RunningChild(socket.socket(fileno=fds[2]))
        try:
            fork_server_pid = os.getpid()
            pid = fork(lambda: self._child.run(fork_server_pid, photo, result))
            self._running[pid] = running
        except OSError:  # the process limit is reached
            running.overdue = running.starved = True
            running.report_exit(-signal.SIGKILL, 0)
        finally:
            os.close(photo)
            os.close(result)
        return True

    def _kill_overdue(self, passed_s: float) -> None:
        for pid, child in self._running.items():
            over = child.has_used_its_time(passed_s, _waited_s(pid), self._child.bounds)
            if over and not child.overdue:
                child.overdue = True
                os.kill(pid, signal.SIGKILL)

    def _reap(self) -> None:
        """Report the exit of every child that has ended."""
        while self._running:
            pid, status, usage = os.wait4(-1, os.WNOHANG)
            if pid == 0:
                return
            exit_code = os.waitstatus_to_exitcode(status)
            self._running.pop(pid).report_exit(exit_code, usage.ru_utime + usage.ru_stime)


def _pipe_for_sigchld() -> int:
    """Return the end of a pipe that becomes readable when a child has exited."""
    readable, writable = os.pipe()
    os.set_blocking(writable, False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(writable, warn_on_full_buffer=False)
    return readable


def _waited_s(pid: int) -> float:
    """Return how long the process was ready but got no processor; 0 if the kernel does not say.

    Source: the second field of ``/proc/PID/schedstat``, in nanoseconds.
    """
    try:
        return int(Path(f"/proc/{pid}/schedstat").read_text().split()[1]) / 1e9
    except (OSError, ValueError, IndexError):
        return 0.0
