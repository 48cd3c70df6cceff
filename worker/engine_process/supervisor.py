"""The engine supervisor: keeps one engine process running, and says whose fault a crash was."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Hashable, Sequence
from dataclasses import fields
from enum import Enum
from typing import Any

from shared.errors import EngineCrashed, EngineLost, FacemendError, ModelUnavailable
from shared.jobs.workers import ServedModel
from shared.settings import Settings
from shared.telemetry import MODELS_REPLACED
from worker.engine.stage_timer import OnProgress
from worker.engine_process.batch_metrics import DeviceBatch
from worker.engine_process.crash_attribution import CrashAttribution
from worker.engine_process.model_files import ModelFiles
from worker.engine_process.process import EngineProcess, NotAccepted, await_messages
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
        self._unexplained: list[EngineProcess] = []  # dead ones; it is not known yet whose fault
        self._next: EngineProcess | None = None  # loads the models
        self._process: EngineProcess | None = None  # accepts jobs
        self._retired: EngineProcess | None = None  # ends its jobs, after a change-over
        self._spare: EngineProcess | None = None  # without models; only for the supervising thread
        self._why_lost: FacemendError | None = None  # why no process accepts jobs any more
        names = settings.served_models or (settings.default_model,)
        self._files = ModelFiles(settings.models_dir, names)
        self._look_at_s = 0.0
        self._replaced: list[str] = []  # the models whose new files are being loaded
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
            self._why_lost = self._why_lost or EngineLost()
            for process in self._running():
                process.shut_down(kill=process is self._next)
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
            if self._process is None or self._why_lost:
                raise EngineLost
            return self._process

    # --- the supervising thread -------------------------------------------------------------

    def _supervise(self) -> None:
        self._load_next()
        while processes := self._running():
            for process in await_messages(processes, _POLL_S):
                self._hear(process)
            if self._next:
                self._next.kill_if_too_slow(self._settings.engine_start_s)
            self._look_at_files()
        if self._spare:
            self._spare.shut_down(kill=True)
            self._spare.reap()

    def _running(self) -> list[EngineProcess]:
        return [each for each in (self._next, self._process, self._retired) if each]

    def _load_next(self) -> None:
        """Have the spare process load the models, or a new one if that is dead."""
        spare, self._spare = self._spare, None
        process = spare if spare and spare.alive else self._spawn()
        if spare and spare is not process:
            spare.reap()
        self._files.keep()
        with self._changed:
            if self._why_lost:
                self._spare = process
                return
            self._next = process
        process.load_models(self._settings.engine_start_s, shadow=self._with_shadow)

    def _spawn(self) -> EngineProcess:
        return EngineProcess(self._settings, self._load_restorers)

    def _look_at_files(self) -> None:
        """Begin a change-over if files of models were replaced; two processes at most have models.

        The one that runs goes on until the next one has loaded them.
        """
        every_s, now_s = self._settings.model_watch_s, time.monotonic()
        if not every_s or now_s < self._look_at_s or self._running() != [self._process]:
            return
        self._look_at_s = now_s + every_s
        if changed := self._files.changed():
            _log.info("the file of %s was replaced and is loaded", ", ".join(changed))
            self._replaced = changed
            self._load_next()

    def _hear(self, process: EngineProcess) -> None:
        if not process.receive(self._on_batch, self._on_shadow):
            self._reap(process)
        elif process is self._next and process.models is not None:
            if self._process and not self._files.as_kept:
                process.kill("the file was replaced again")  # what it has may be of both
            else:
                self._accept_jobs(process, process.models)

    def _accept_jobs(self, process: EngineProcess, models: Sequence[dict[str, Any]]) -> None:
        """Let jobs in; the process before, if it still runs, only ends those that it has."""
        with self._changed:
            before, self._process, self._next = self._process, process, None
            self.models = tuple(map(_served_model, models))
            if before:
                self._retired = before
                before.retire()
            self._settle()
        _log.info("the engine process %d is ready", process.pid)
        self._count_replaced("changed")
        self._spare = self._spawn()

    def _reap(self, process: EngineProcess) -> None:
        """Reap a process that has ended, and start another one if there is none for jobs."""
        with self._changed:
            loading, retired = process is self._next, process is self._retired
            self._next, self._process, self._retired = (
                None if each is process else each
                for each in (self._next, self._process, self._retired)
            )
        death = process.reap(crowded=bool(self._running()))
        if loading:
            error = process.load_error or ModelUnavailable(
                f"the engine process died at its start: {death}"
            )
            self._end_failed_load(error)
        elif process.in_flight or not retired:
            self._attribute(process)

    def _end_failed_load(self, error: FacemendError) -> None:
        """Stay with the process that runs, if this was a change-over; else give up."""
        if self._why_lost:
            return
        if not self._replaced:
            self._give_up(error)
            return
        _log.error("the new file of %s is refused: %s", ", ".join(self._replaced), error.detail)
        self._count_replaced("refused")
        if self._process:
            self._spare = self._spawn()
        else:
            self._load_next()  # it died meanwhile, and now there is more memory

    def _count_replaced(self, outcome: str) -> None:
        for model in self._replaced:
            MODELS_REPLACED.labels(model=model, outcome=outcome).inc()
        self._replaced = []

    def _attribute(self, process: EngineProcess) -> None:
        """Find out whose fault a death was, once there is a process that runs, or none will be."""
        if process.shadow_blamed:
            _log.error("the engine process may have died of its shadow, which is now switched off")
            self._with_shadow = False
            self._on_shadow(process.shadow_blamed)
        with self._changed:
            self._unexplained.append(process)
            if not (process.shadow_blamed or process.crowded_out):
                self._crashes.record_crash(process.in_flight, process.suspects)
            at_fault = self._crashes.worker_at_fault and not self._why_lost
            if not at_fault:
                self._settle()
        if at_fault:
            words = "the engine process died under one job after the other, and none went well"
            self._give_up(EngineLost(words))
        elif not self._process and not self._next:
            self._load_next()

    def _settle(self) -> None:
        """A death was the fault of a job if a process runs without it, else of the worker."""
        if self._why_lost or self._process:
            fault = Fault.WORKER if self._why_lost else Fault.JOB
            self._faults.update(dict.fromkeys(self._unexplained, fault))
            self._unexplained.clear()
        self._changed.notify_all()

    def _give_up(self, error: FacemendError) -> None:
        _log.error("no engine process: %s", error.detail)
        with self._changed:
            self._why_lost = error
            self.lost.set()
            self._settle()
            for process in self._running():
                process.shut_down(kill=True)


def _served_model(info: dict[str, Any]) -> ServedModel:
    """Return the part of a ``ModelInfo`` that the API announces."""
    return ServedModel(**{field.name: info[field.name] for field in fields(ServedModel)})
