"""What happens to a job when its bell rings: the one place that decides retry, release or fail."""

from __future__ import annotations

import logging
import random
import time
from dataclasses import dataclass, field
from typing import Any

from shared.errors import (
    Draining,
    EngineCrashed,
    EngineLost,
    FacemendError,
    Internal,
    JobCanceled,
    LeaseLost,
    Poisoned,
    Unavailable,
)
from shared.jobs.job import TRANSIENT_BACKOFF_S, Job, Release, Status
from shared.jobs.store import Claim, JobStore, Outcome
from shared.manifests.manifests import Manifests
from shared.telemetry import FACES, JOBS_ENDED, JOBS_RELEASED, STAGE_SECONDS, bind
from worker.engine_process.supervisor import EngineProcess, Fault
from worker.jobs.lease import Drain, Lease
from worker.jobs.pipeline import Pipeline

_log = logging.getLogger(__name__)
_WRITE_DOWN_S = 120.0  # how long a finished job waits for Redis to take the news


@dataclass(frozen=True, slots=True)
class _GiveBack:
    """Back to the queue; or failed with ``problem``, when the budget of ``reason`` is spent."""

    reason: Release
    delay_s: float = 0
    problem: dict[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Worker:
    """All that one worker process works with."""

    name: str
    store: JobStore
    pipeline: Pipeline
    engine: EngineProcess
    drain: Drain
    beat_s: float
    held: dict[str, Claim] = field(default_factory=dict)

    def restore(self, job_id: str) -> None:
        """Answer one ring. The message is only a doorbell: the record decides what is to do."""
        if self.drain.begun:
            return  # the record still says queued, so the dispatcher rings elsewhere
        claim = self.store.claim(job_id, self.name)
        if claim is None:
            return
        self.held[claim.token] = claim
        try:
            with bind(job_id=claim.job.id):
                self._run(claim)
        finally:
            del self.held[claim.token]

    def let_go(self) -> None:
        """Give back whatever is still held, for the process ends now."""
        for claim in list(self.held.values()):
            with bind(job_id=claim.job.id):
                try:
                    if self.store.release(claim.job.id, claim.token, Release.DRAIN):
                        _log.warning("given back, for the process ends")
                except Unavailable as error:
                    _log.warning("not given back, the lease will end: %s", error.detail)

    def leave(self) -> None:
        """Take no more: the engine is lost, whatever the jobs were. Strike out their crashes."""
        self.drain.begin()
        charged = self.engine.wrongly_charged
        try:
            self.store.absolve(charged)
        except Unavailable as error:
            _log.warning("crashes not struck out for %s: %s", ", ".join(charged), error.detail)

    def _run(self, claim: Claim) -> None:
        attempt, alone = claim.job.attempt, claim.suspect
        _log.info("job started", extra={"attempt": attempt} | ({"alone": True} if alone else {}))
        with Lease(self.store, claim, self.beat_s, self.drain) as lease:
            end = self._work(claim, lease)
            status = self._write_down(claim, end)
        _log.info("job %s", status or "fenced: another worker's by now")
        if status and status.terminal:
            job = claim.job
            Manifests(self.pipeline.storage).remove(job.tenant, job.id, job.generation)
        if end and status:
            _count(claim.job, end, status)
        if isinstance(end, _GiveBack) and end.reason is Release.CRASH:
            self.engine.charged(claim.job.id)

    def _work(self, claim: Claim, lease: Lease) -> Outcome | _GiveBack | None:
        """Do the job; None: it is another worker's by now."""
        try:
            try:
                return self.pipeline.run(claim, lease)
            except EngineCrashed as crash:
                return self._after(crash, lease)
        except EngineLost:
            self.leave()
            return _GiveBack(Release.DRAIN)
        except FacemendError as error:
            return _meaning(error, claim.job)
        except Exception:  # noqa: BLE001  # the last resort: logged whole, the customer told nothing
            _log.exception("job failed unexpectedly")
            return Outcome(Status.FAILED, error=Internal().problem())

    def _after(self, crash: EngineCrashed, lease: Lease) -> _GiveBack:
        """Charge the job with the crash, once the engine has shown that it is sound without it."""
        if self.engine.fault(crash, lease.check) is Fault.JOB:
            return _GiveBack(Release.CRASH, problem=Poisoned().problem())
        raise EngineLost

    def _write_down(self, claim: Claim, end: Outcome | _GiveBack | None) -> Status | None:
        """Tell the record; while Redis is away, try again, for the work is done. None: fenced."""
        give_up_s = time.monotonic() + _WRITE_DOWN_S
        while True:
            try:
                return self._tell(claim, end)
            except Unavailable as error:
                if time.monotonic() > give_up_s:
                    raise
                _log.warning("the job's end is not written yet: %s", error.detail)
                time.sleep(1)

    def _tell(self, claim: Claim, end: Outcome | _GiveBack | None) -> Status | None:
        job_id, token = claim.job.id, claim.token
        if isinstance(end, Outcome):
            return end.status if self.store.finish(job_id, token, end) else None
        if end is None:
            return None
        return self.store.release(job_id, token, end.reason, delay_s=end.delay_s, error=end.problem)


def _count(job: Job, end: Outcome | _GiveBack, status: Status) -> None:
    """The metrics of a run whose end is written."""
    if isinstance(end, Outcome):
        _count_work(job, end)
    if status is Status.QUEUED and isinstance(end, _GiveBack):
        JOBS_RELEASED.labels(model=job.model, reason=end.reason).inc()
        return
    problem = end.error if isinstance(end, Outcome) else end.problem
    code = problem["code"] if problem and status is Status.FAILED else ""
    JOBS_ENDED.labels(model=job.model, status=status, code=code).inc()


def _count_work(job: Job, outcome: Outcome) -> None:
    for stage, ms in outcome.timings_ms.items():
        STAGE_SECONDS.labels(model=job.model, stage=stage).observe(ms / 1000)
    for face in (outcome.result or {}).get("faces", ()):
        FACES.labels(model=job.model, status=face["status"]).inc()


def _meaning(error: FacemendError, job: Job) -> Outcome | _GiveBack | None:
    """What an error makes of the job."""
    if isinstance(error, LeaseLost):
        return None
    if isinstance(error, JobCanceled):
        return Outcome(Status.CANCELED)
    if isinstance(error, Draining):
        return _GiveBack(Release.DRAIN)
    if error.retryable:
        delay_s = _backoff_s(job)
        _log.warning("will be tried again in %.0f s: %s", delay_s, error.detail)
        return _GiveBack(Release.TRANSIENT, delay_s, error.problem())
    return Outcome(Status.FAILED, error=error.problem())


def _backoff_s(job: Job) -> float:
    step = min(max(job.attempt, 1), len(TRANSIENT_BACKOFF_S)) - 1
    return TRANSIENT_BACKOFF_S[step] * random.uniform(0.8, 1.2)
