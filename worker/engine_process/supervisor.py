"""The engine supervisor: keeps one engine process running, and says whose fault a crash was."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Hashable, Sequence
from dataclasses import fields
from enum import Enum
from typing import Any

from shared.errors import EngineCrashed, EngineLost, FacemendError
from shared.jobs.workers import ServedModel
from shared.settings import Settings
from worker.engine.stage_timer import OnProgress
from worker.engine_process.batch_metrics import DeviceBatch
from worker.engine_process.crash_attribution import CrashAttribution
from worker.engine_process.process import EngineProcess, NotAccepted
from worker.engine_process.protocol import RestoreRequest
from worker.engine_process.result_file import ResultFile
from worker.engine_process.shadow_report import OnShadow
from worker.engine_process.shared_exclusive_lock import SharedExclusiveLock

_log = logging.getLogger(__name__)
_POLL_S = 0.25

Check = Callable[[], None]
OnBatch = Callable[[DeviceBatch], None]


class Fault(Enum):
    """Whose fault it was that an engine process died."""

    JOB = "job"
    WORKER = "worker"


class EngineSupervisor:
    """Thread-safe. ``load_restorers`` is ``module:function``, called in the engine process."""

    def __init__(
        self,
        settings: Settings,
        load_restorers: str,
        on_batch: OnBatch = lambda _batch: None,
        on_shadow: OnShadow = lambda _report: None,
    ) -> None:
        self.models: tuple[ServedModel, ...] = ()
        self.lost = threading.Event()  # there is no process, and there will be none
        self._settings = settings
        self._load_restorers = load_restorers
        self._on_batch, self._on_shadow = on_batch, on_shadow
        self._with_shadow = True  # until a process may have died of it
        self._lock = SharedExclusiveLock()
        self._changed = threading.Condition()
        self._crashes = CrashAttribution()
        self._faults: dict[Hashable, Fault] = {}  # by process
        self._loading: EngineProcess | None = None  # the newest one that loads or has models
        self._process: EngineProcess | None = None  # the same one, while it accepts jobs
        self._spare: EngineProcess | None = None  # replaces it; only the supervising thread uses it
        self._why_lost: FacemendError | None = None
        self._closing = False
        # One thread that stays, because a process dies with the thread that spawned it.
        self._thread = threading.Thread(
            target=self._supervise, name="engine-supervisor", daemon=True
        )

    def start(self) -> None:
        """Start the engine process, which begins to load its models."""
        self._thread.start()

    def wait_until_ready(self) -> None:
        """Wait for the models of the engine process.

        Raises the error of loading them, and ModelUnavailable if the process dies meanwhile.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._process or self._why_lost)
            if self._why_lost:
                raise self._why_lost

    def close(self) -> None:
        """End the engine process and all its jobs."""
        with self._changed:
            self._closing = True
            if self._loading:
                self._loading.shut_down(kill=self._process is None)
        if self._thread.is_alive():
            self._thread.join()

    @property
    def pid(self) -> int | None:
        """The pid of the engine process; None while there is none that accepts jobs."""
        process = self._process
        return process.pid if process else None

    def restore(
        self,
        request: RestoreRequest,
        photo: int,
        on_progress: OnProgress,
        check: Check,
        *,
        alone: bool = False,
    ) -> ResultFile:
        """Have one photo restored; ``photo`` is the memory file of a ``DecodedPhoto``.

        ``alone``: no other job is in the engine process meanwhile. ``check`` is called several
        times a second and raises to stop the job. If another job crashes the process, the next
        process begins this one again. Raises what the engine raises; EngineCrashed if this job may
        have caused a crash (``fault`` then says whether it did); and EngineLost.
        """
        with self._lock.hold(check, exclusive=alone):
            while True:
                process = self._wait_for_process(check)
                try:
                    result = process.restore(request, photo, on_progress, check, was_suspect=alone)
                except NotAccepted:
                    continue
                except EngineCrashed:
                    if process.is_suspect(request.job_id, check):
                        raise
                    continue
                with self._changed:
                    self._crashes.record_success()
                return result

    def fault(self, crash: EngineCrashed, check: Check) -> Fault:
        """Wait until a new process has started, or cannot start; return whose fault it was."""
        with self._changed:
            while not self._changed.wait_for(lambda: crash.child in self._faults, _POLL_S):
                check()
            return self._faults[crash.child]

    def record_charge(self, job_id: str) -> None:
        """A crash was counted in the record of this job."""
        with self._changed:
            self._crashes.record_charge(job_id)

    @property
    def jobs_to_refund(self) -> list[str]:
        """The jobs with a counted crash that was the worker's fault, if it is at fault."""
        with self._changed:
            return self._crashes.charged_jobs

    def _wait_for_process(self, check: Check) -> EngineProcess:
        with self._changed:
            while not self._changed.wait_for(lambda: self._process or self._why_lost, _POLL_S):
                check()
            if self._process is None:
                raise EngineLost
            return self._process

    # --- the supervising thread -------------------------------------------------------------

    def _supervise(self) -> None:
        before: EngineProcess | None = None
        while process := self._next_process():
            try:
                models = process.wait_until_loaded(self._settings.engine_start_s)
            except FacemendError as error:
                self._give_up(error, before)
                break
            self._accept_jobs(process, models, before)
            process.receive_reports(self._on_batch, self._on_shadow)
            if not self._reap(process):
                break
            before = process
        if self._spare:
            self._spare.shut_down(kill=True)
            self._spare.reap()

    def _next_process(self) -> EngineProcess | None:
        """Return the spare process, or a new one if that is dead; None if we are closing."""
        with self._changed:
            if self._closing:
                return None
            spare, self._spare = self._spare, None
            process = spare if spare and spare.alive else self._spawn()
            self._loading = process
        if spare and spare is not process:
            spare.reap()
        process.load_models(shadow=self._with_shadow)
        return process

    def _spawn(self) -> EngineProcess:
        return EngineProcess(self._settings, self._load_restorers)

    def _accept_jobs(
        self, process: EngineProcess, models: Sequence[dict[str, Any]], before: EngineProcess | None
    ) -> None:
        """Let jobs in. The process before died of a job, because a new one starts here."""
        with self._changed:
            self.models = tuple(map(_served_model, models))
            self._process = process
            if before:
                self._faults[before] = Fault.JOB
            self._changed.notify_all()
            if self._closing:
                process.shut_down()
        _log.info("the engine process %d is ready", process.pid)
        self._spare = self._spawn()

    def _reap(self, process: EngineProcess) -> bool:
        """Reap a dead process. Returns whether another one shall start."""
        with self._changed:
            self._process = None
        process.reap()
        with self._changed:
            if self._closing:
                self._why_lost = EngineLost()
                self._faults[process] = Fault.WORKER
                self._changed.notify_all()
                return False
        if process.shadow_blamed:
            _log.error("the engine process may have died of its shadow, which is now switched off")
            self._with_shadow = False
            self._on_shadow(process.shadow_blamed)
            return True
        with self._changed:
            self._crashes.record_crash(process.in_flight, process.suspects)
            if not self._crashes.worker_at_fault:
                return True
        self._give_up(
            EngineLost("the engine process died under one job after the other, and none went well"),
            process,
        )
        return False

    def _give_up(self, error: FacemendError, before: EngineProcess | None) -> None:
        _log.error("no engine process: %s", error.detail)
        with self._changed:
            self._why_lost = error
            self.lost.set()
            if before:
                self._faults[before] = Fault.WORKER
            self._changed.notify_all()


def _served_model(info: dict[str, Any]) -> ServedModel:
    """Return the part of a ``ModelInfo`` that the API announces."""
    return ServedModel(**{field.name: info[field.name] for field in fields(ServedModel)})
