"""The engine as the worker sees it: one child, a new one when it dies, and whose fault it was."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Hashable, Sequence
from dataclasses import fields
from enum import Enum
from typing import Any

from shared.errors import EngineCrashed, EngineLost, FacemendError
from shared.jobs.store import ServedModel
from shared.settings import Settings
from worker.engine_process.crash_attribution import Crashes
from worker.engine_process.process import EngineChild, NotBegun, OnProgress
from worker.engine_process.request import Order
from worker.engine_process.result import Finished
from worker.engine_process.shared_lock import Gate

_log = logging.getLogger(__name__)
_LOOK_S = 0.25

Check = Callable[[], None]
OnBatch = Callable[[str, Sequence[float]], None]


class Fault(Enum):
    """Whose fault it was that the child died."""

    JOB = "job"
    WORKER = "worker"


class EngineProcess:
    """Thread-safe. ``load_restorers`` is ``module:function``, called in the child."""

    def __init__(
        self,
        settings: Settings,
        load_restorers: str,
        on_batch: OnBatch = lambda _model, _waits_s: None,
    ) -> None:
        self.models: tuple[ServedModel, ...] = ()
        self.lost = threading.Event()  # there is no child any more, and there will be none
        self._settings = settings
        self._load_restorers = load_restorers
        self._on_batch = on_batch
        self._gate = Gate()
        self._changed = threading.Condition()
        self._crashes = Crashes()
        self._faults: dict[Hashable, Fault] = {}  # by child
        self._begun: EngineChild | None = None
        self._child: EngineChild | None = None  # the one begun, once it can work
        self._spare: EngineChild | None = None  # takes over when that one dies; the keeper's
        self._why_lost: FacemendError | None = None
        self._closing = False
        # One thread that stays: children die with the thread that started them.
        self._keeper = threading.Thread(target=self._keep, name="engine-keeper", daemon=True)

    def start(self) -> None:
        """Start the child and wait for its models.

        Raises what loading raises, and ModelUnavailable if the child dies over it.
        """
        self._keeper.start()
        with self._changed:
            self._changed.wait_for(lambda: self._child or self._why_lost)
            if self._why_lost:
                raise self._why_lost

    def close(self) -> None:
        """End the child and all that it does."""
        with self._changed:
            self._closing = True
            if self._begun:
                self._begun.dismiss(at_once=self._child is None)
        if self._keeper.is_alive():
            self._keeper.join()

    @property
    def pid(self) -> int | None:
        """The child's, while there is one that works."""
        child = self._child
        return child.pid if child else None

    def restore(
        self,
        order: Order,
        photo: int,
        on_progress: OnProgress,
        check: Check,
        *,
        alone: bool = False,
    ) -> Finished:
        """Have one photo restored: ``photo`` is the memory file of a ``Decoded``.

        ``alone``: nobody else's photo is at the engine meanwhile. ``check`` is called all the
        time and raises to stop. A job that was there when another one crashed the child is begun
        again by the next child. Raises what the engine raises, EngineCrashed if this job may be
        why (then ask ``fault``), and EngineLost.
        """
        with self._gate.passing(check, alone=alone):
            while True:
                child = self._working_child(check)
                try:
                    finished = child.work(order, photo, on_progress, check, marked=alone)
                except NotBegun:
                    continue
                except EngineCrashed:
                    if child.may_be_guilty(order.job_id, check):
                        raise
                    continue
                with self._changed:
                    self._crashes.went_well()
                return finished

    def fault(self, crash: EngineCrashed, check: Check) -> Fault:
        """Whose fault it was, known as soon as a new child has started, or has failed to."""
        with self._changed:
            while not self._changed.wait_for(lambda: crash.child in self._faults, _LOOK_S):
                check()
            return self._faults[crash.child]

    def charged(self, job_id: str) -> None:
        """A crash was put down in this job's record."""
        with self._changed:
            self._crashes.charged(job_id)

    @property
    def wrongly_charged(self) -> list[str]:
        """Whose crashes are to be struck out, now that it was the worker."""
        with self._changed:
            return self._crashes.marked

    def _working_child(self, check: Check) -> EngineChild:
        with self._changed:
            while not self._changed.wait_for(lambda: self._child or self._why_lost, _LOOK_S):
                check()
            if self._child is None:
                raise EngineLost
            return self._child

    # --- the keeper's thread ----------------------------------------------------------------

    def _keep(self) -> None:
        before: EngineChild | None = None
        while child := self._next():
            try:
                models = child.loaded(self._settings.engine_start_s)
            except FacemendError as error:
                self._give_up(error, before)
                break
            self._open(child, models, before)
            child.listen(self._on_batch)
            if not self._died(child):
                break
            before = child
        if self._spare:
            self._spare.dismiss(at_once=True)
            self._spare.bury()

    def _next(self) -> EngineChild | None:
        """The spare child, or a new one if that is dead; None: the end has come."""
        with self._changed:
            if self._closing:
                return None
            spare, self._spare = self._spare, None
            child = spare if spare and spare.alive else self._new()
            self._begun = child
        if spare and spare is not child:
            spare.bury()
        child.begin()
        return child

    def _new(self) -> EngineChild:
        return EngineChild(self._settings, self._load_restorers)

    def _open(
        self, child: EngineChild, models: Sequence[dict[str, Any]], before: EngineChild | None
    ) -> None:
        """Let jobs in. The child before died of its jobs, then, since this machine is sound."""
        with self._changed:
            self.models = tuple(map(_served_model, models))
            self._child = child
            if before:
                self._faults[before] = Fault.JOB
            self._changed.notify_all()
            if self._closing:
                child.dismiss()
        _log.info("the engine process %d is ready", child.pid)
        self._spare = self._new()

    def _died(self, child: EngineChild) -> bool:
        """Whether there is to be another one."""
        with self._changed:
            self._child = None
        child.bury()
        with self._changed:
            if self._closing:
                self._why_lost = EngineLost()
                self._faults[child] = Fault.WORKER
                self._changed.notify_all()
                return False
            self._crashes.died(child.hands, child.suspects)
            if not self._crashes.worker_at_fault:
                return True
        self._give_up(
            EngineLost("the engine process died under one job after the other, and none went well"),
            child,
        )
        return False

    def _give_up(self, error: FacemendError, before: EngineChild | None) -> None:
        _log.error("no engine process: %s", error.detail)
        with self._changed:
            self._why_lost = error
            self.lost.set()
            if before:
                self._faults[before] = Fault.WORKER
            self._changed.notify_all()


def _served_model(info: dict[str, Any]) -> ServedModel:
    """What others need to know of a ``ModelInfo``."""
    return ServedModel(**{field.name: info[field.name] for field in fields(ServedModel)})
