"""The worker's handle of one engine process, from spawn to reap."""

from __future__ import annotations

import contextlib
import logging
import math
import os
import selectors
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any

from shared.errors import EngineCrashed, FacemendError
from shared.process_control import exit_in_words
from shared.settings import Settings
from shared.telemetry import ENGINE_DEATHS
from worker.decoder import memory_file
from worker.engine.stage_timer import OnProgress
from worker.engine_process import protocol
from worker.engine_process.batch_metrics import DeviceBatch
from worker.engine_process.crash_attribution import InFlightJob, find_suspects
from worker.engine_process.protocol import RestoreRequest
from worker.engine_process.result_file import ResultFile
from worker.engine_process.shadow_report import OnShadow, ShadowReport, ShadowWatch
from worker.engine_process.spawn import settings_without_secrets, spawn

_log = logging.getLogger(__name__)
_POLL_S = 0.25
_STOP_TIMEOUT_S = 2.0  # how long a stopped job may take to reach its next step
_EXIT_TIMEOUT_S = 5.0  # how long the kernel may take to end a dying process
_CRASH_OUTPUT_BYTES = 8_000


class NotAccepted(Exception):
    """The process died or was retired before it had the job, so it cannot have died of it."""


def await_messages(processes: Sequence[EngineProcess], timeout_s: float) -> Sequence[EngineProcess]:
    """Wait until some of these processes have sent a message or ended; return those."""
    with selectors.PollSelector() as selector:
        for process in processes:
            selector.register(process, selectors.EVENT_READ, process)
        return [key.data for key, _ in selector.select(timeout_s)]


class EngineProcess:
    """Thread-safe for jobs. One thread that stays must create it: it dies with that thread.

    A new process imports its code and waits. It loads the models after ``load_models``.
    """

    def __init__(self, settings: Settings, load_restorers: str) -> None:
        self.models: list[dict[str, Any]] | None = None  # ``ModelInfo`` as JSON, once loaded
        self.load_error: FacemendError | None = None
        self._load_by_s = math.inf
        self._stall_s = settings.stall_s
        self._control, theirs = protocol.socket_pair()
        self._crash_output = memory_file.create("crash-output")
        self._lock = threading.Lock()
        self._gone = threading.Event()
        self._reaped = threading.Event()
        self._shut_down = self._retired = False
        self._killed_for = ""
        self._stalled_s: float | None = None
        self._device_steps = 0
        self._in_flight: list[InFlightJob] = []
        self._suspects: tuple[str, ...] = ()
        self._shadow = ShadowWatch()
        # Once reaped, if no job is to blame:
        self.shadow_blamed: ShadowReport | None = None
        self.crowded_out = False  # killed because two processes needed too much memory
        with theirs:
            self._process = spawn(theirs.fileno(), self._crash_output)
        settings_json = settings_without_secrets(settings)
        self._send({"settings": settings_json, "load_restorers": load_restorers})

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def in_flight(self) -> Sequence[InFlightJob]:
        """The jobs that it has now; those that a dead process had at its death."""
        return tuple(self._in_flight)

    @property
    def suspects(self) -> Sequence[str]:
        """The ids of the jobs that may have caused the death, once the process is reaped."""
        return self._suspects

    # --- for the thread that created it -----------------------------------------------------

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    def fileno(self) -> int:
        """The control socket, for ``await_messages``."""
        return self._control.fileno()

    def load_models(self, timeout_s: float, *, shadow: bool) -> None:
        """Have the models loaded; ``receive`` hears of those that are served.

        With ``shadow``, that of the settings is loaded after them.
        """
        self._load_by_s = time.monotonic() + timeout_s
        self._send({"load_models": True, "shadow": shadow})

    def kill_if_too_slow(self, timeout_s: float) -> None:
        """Kill the process if it has not loaded the models in time."""
        if self.models is None and time.monotonic() > self._load_by_s:
            self.kill(f"not ready after {timeout_s:g} s")

    def receive(self, on_batch: Callable[[DeviceBatch], None], on_shadow: OnShadow) -> bool:
        """Receive a message: the models, the error of loading them, a batch, or of the shadow.

        Returns False if the process has ended, or ends.
        """
        message, _ = protocol.receive(self._control)
        if message is None:
            return False
        if "load_error" in message:
            self.load_error = protocol.decode_error(message["load_error"])
            self._shut_down = True
        elif "models" in message:
            self.models = message["models"]
        elif "shadow" in message:
            report = ShadowReport.decode(message["shadow"])
            self._shadow.record(report)
            on_shadow(report)
        elif self.models is not None:  # before, it is one of the warm-up
            self._device_steps += 1
            on_batch(DeviceBatch(**message))
        return True

    def reap(self, *, crowded: bool = False) -> str:
        """Wait for the exit of a dying process, and log the crash report.

        ``crowded``: another process had models, too. If this one was killed then, memory was short
        because of both, and nothing is blamed for it. Returns how it died, in words.
        """
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(_EXIT_TIMEOUT_S)
        self.kill("did not end")
        self._process.wait()
        with self._lock:
            self._gone.set()
            self._control.close()
        stack = os.pread(self._crash_output, _CRASH_OUTPUT_BYTES, 0).decode(errors="replace")
        os.close(self._crash_output)
        death = self._killed_for or exit_in_words(self._process.returncode)
        by_kernel = not self._killed_for and self._process.returncode == -signal.SIGKILL
        self.crowded_out = crowded and by_kernel
        if not (self._shut_down or self.crowded_out):
            self.shadow_blamed = self._shadow.blame(killed=by_kernel)
        if not (self.shadow_blamed or self.crowded_out):
            self._suspects = find_suspects(self._in_flight, stack, self._stalled_s)
        self._reaped.set()
        if not self._shut_down:
            ENGINE_DEATHS.labels(death).inc()
        _log.log(
            logging.INFO if self._shut_down else logging.ERROR,
            "the engine process %d ended: %s",
            self.pid,
            death,
            extra={"jobs": [job.job_id for job in self._in_flight], "suspects": self._suspects}
            | ({"stack": stack} if stack else {}),
        )
        return death

    def retire(self) -> None:
        """Accept no more jobs, and exit when those in flight have ended."""
        with self._lock:
            self._retired = True
            self._shut_down_if_done()

    def shut_down(self, *, kill: bool = False) -> None:
        """Close the control socket, at whose end the process exits; or kill it at once."""
        self._shut_down = True
        with contextlib.suppress(OSError):
            self._control.shutdown(socket.SHUT_RDWR)
        if kill:
            self.kill("not needed any more")

    def kill(self, why: str) -> None:
        """Send SIGKILL, unless the process is dead already."""
        if self.alive:
            self._killed_for = self._killed_for or why
            self._process.kill()

    def _send(self, message: dict[str, Any]) -> None:
        with contextlib.suppress(OSError):  # dead already: ``reap`` says how it died
            protocol.send(self._control, message)

    # --- for the threads of jobs ------------------------------------------------------------

    def restore(
        self,
        request: RestoreRequest,
        photo: int,
        on_progress: OnProgress,
        check: Callable[[], None],
        *,
        was_suspect: bool,
    ) -> ResultFile:
        """Have one photo restored; ``photo`` is the memory file of a ``DecodedPhoto``.

        Raises NotAccepted, EngineCrashed, what the engine raises, and what ``on_progress`` and
        ``check`` raise: then the engine process stops the job.
        """
        ours, theirs = protocol.socket_pair()
        with ours:
            with theirs:
                job = InFlightJob(request.job_id, was_suspect)
                self._start_job(job, request, theirs, photo)
            ours.settimeout(_POLL_S)
            try:
                result = self._follow(ours, job, on_progress, check)
            except EngineCrashed:
                raise  # the job stays in flight, for the crash report
            except BaseException:
                self._stop_job(ours)
                self._end_job(job)
                raise
            self._end_job(job)
            return result

    def is_suspect(self, job_id: str, check: Callable[[], None]) -> bool:
        """Wait until the process is reaped; return whether this job may have caused its death."""
        while not self._reaped.wait(_POLL_S):
            check()
        return job_id in self._suspects

    def _start_job(
        self, job: InFlightJob, request: RestoreRequest, replies: socket.socket, photo: int
    ) -> None:
        with self._lock:
            if self._retired or self._gone.is_set():
                raise NotAccepted
            try:
                protocol.send(self._control, asdict(request), [replies.fileno(), photo])
            except OSError as error:
                raise NotAccepted from error
            self._in_flight.append(job)

    def _end_job(self, job: InFlightJob) -> None:
        with self._lock:
            self._in_flight.remove(job)
            self._shut_down_if_done()

    def _shut_down_if_done(self) -> None:
        if self._retired and not self._in_flight:
            self.shut_down()

    def _follow(
        self,
        replies: socket.socket,
        job: InFlightJob,
        on_progress: OnProgress,
        check: Callable[[], None],
    ) -> ResultFile:
        device_steps = self._device_steps
        while True:
            try:
                message, files = protocol.receive(replies)
            except TimeoutError:
                check()
                # Polls are counted, not seconds: nothing stalls while this whole group is stopped.
                same = device_steps == self._device_steps
                job.silent_s = job.silent_s + _POLL_S if same else 0.0
                device_steps = self._device_steps
                self._kill_if_stalled(job)
                continue
            job.silent_s = 0.0
            if message is None:
                raise EngineCrashed(child=self)
            if "result" in message:
                return ResultFile(files[0])
            self._handle(message, job, on_progress)

    def _kill_if_stalled(self, job: InFlightJob) -> None:
        if job.silent_s > self._stall_s:
            self._stalled_s = self._stall_s
            self.kill(f"no progress for {self._stall_s:g} s")

    def _handle(self, message: dict[str, Any], job: InFlightJob, on_progress: OnProgress) -> None:
        if "error" in message:
            raise protocol.decode_error(message["error"])
        if "thread" in message:
            job.thread = message["thread"]
            return
        stage, done, total = message["progress"]
        self._device_steps += stage == "enlarging"  # the device works, so no other job has stalled
        on_progress(stage, done, total)

    def _stop_job(self, replies: socket.socket) -> None:
        """Close our end: the engine process stops the job at its next step."""
        with contextlib.suppress(OSError):
            replies.shutdown(socket.SHUT_WR)
        give_up_s = time.monotonic() + _STOP_TIMEOUT_S
        message: dict[str, Any] | None = {}
        with contextlib.suppress(TimeoutError):
            while message is not None and time.monotonic() < give_up_s:
                message, files = protocol.receive(replies)
                protocol.close_files(files)
