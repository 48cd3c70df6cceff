"""The job runner: runs a job when its doorbell rings, and alone decides retry, release or fail."""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from shared.errors import (
    Draining,
    EngineCrashed,
    EngineLost,
    EqualJobRuns,
    FacemendError,
    InputTimeout,
    Internal,
    JobCanceled,
    LeaseLost,
    Poisoned,
    Unavailable,
)
from shared.jobs.job import INPUT_BACKOFF_S, TRANSIENT_BACKOFF_S, Job, Kind, Release, Status
from shared.jobs.record import Outcome
from shared.jobs.runs import Claim
from shared.jobs.store import JobStore
from shared.manifests.manifests import Manifests
from shared.telemetry import (
    FACES,
    JOBS_ENDED,
    JOBS_RELEASED,
    STAGE_SECONDS,
    bind,
    request_exemplar,
)
from worker.engine.stage_timer import StageTimer
from worker.engine_process.supervisor import EngineSupervisor, Fault
from worker.jobs.lease import Drain, Lease
from worker.jobs.pipeline import Pipeline
from worker.jobs.places import DevicePlaces, FetchPlaces, Line
from worker.jobs.traces import JobTraces

_log = logging.getLogger(__name__)
_RECORD_TIMEOUT_S = 120.0  # how long the end of a job waits for Redis
_WAIT_S = 0.05
_FETCH_BEAT_S = 1.0  # a job at a slow server hears of a cancel sooner

_Argument = TypeVar("_Argument")


@dataclass(frozen=True, slots=True)
class _Requeue:
    """Back to the queue; or failed with ``problem`` if the budget of ``reason`` is used up."""

    reason: Release
    delay_s: float = 0
    problem: dict[str, Any] | None = None


#: How a run ends: to be written as an outcome, or as a return to the queue; a state that is written
#: already; or None, because another worker has the job now.
_End = Outcome | _Requeue | Status | None


@dataclass(frozen=True, slots=True)
class JobRunner:
    """Runs jobs in the threads of one worker process. ``claims``: the running jobs, by token.

    A job whose photo is in the storage runs in the thread of its doorbell. A job whose photo is at
    a URL gets a thread of its own, which first fetches the photo and then waits for a device place.
    """

    name: str
    store: JobStore
    pipeline: Pipeline
    engine: EngineSupervisor
    drain: Drain
    beat_s: float
    device: DevicePlaces
    fetches: FetchPlaces
    claims: dict[str, Claim] = field(default_factory=dict)
    traces: JobTraces = field(default_factory=JobTraces)

    def restore(self, job_id: str) -> None:
        """Handle one ring of the doorbell. Only the job's record decides whether there is work."""
        with self.device.hold(Line.DOORBELL):
            claim = self._claim(job_id, stored=True)
            if claim is not None and not _is_remote(claim):
                self._run(claim)
                return
        if claim is not None:
            _start(self._run_remote, claim)

    def wait(self) -> None:
        """Wait until no job runs. The drain has begun, so none starts."""
        while True:
            with self.fetches.claiming:
                if not self.claims:
                    return
            time.sleep(_WAIT_S)

    def release_all(self) -> None:
        """Release every running job, because this process exits now."""
        said: list[tuple[Claim, str]] = []  # logged last, because the log may be stuck
        for claim in list(self.claims.values()):
            try:
                if self.store.runs.release(claim.job.id, claim.token, Release.DRAIN):
                    said.append((claim, "released: this process exits"))
            except Unavailable as error:
                said.append((claim, f"not released, the lease will expire: {error.detail}"))
        for claim, words in said:
            with bind(**claim.job.log_fields):
                _log.warning(words)

    def withdraw(self) -> None:
        """Accept no more jobs, and refund their crashes: the engine of this worker is broken."""
        self.drain.begin()
        refunds = self.engine.jobs_to_refund
        try:
            self.store.runs.refund(refunds)
        except Unavailable as error:
            _log.warning("crashes not refunded for %s: %s", ", ".join(refunds), error.detail)

    def _claim(self, doorbell_id: str, *, stored: bool) -> Claim | None:
        """Claim a job for which there is a place. ``stored``: the caller holds a device place."""
        with self.fetches.claiming:
            if self.drain.begun:
                return None  # the record still says queued, so the dispatcher rings again
            places = self.fetches.available(stored=stored)
            claim = self.store.runs.claim(doorbell_id, self.name, places)
            if claim is not None:
                self.claims[claim.token] = claim
                if _is_remote(claim):
                    self.fetches.add(claim)
            return claim

    def _run_remote(self, claim: Claim) -> None:
        """Run a job whose photo is at a URL."""
        try:
            self._run(claim)
        finally:
            self._free_fetch_place(claim)

    @contextmanager
    def _device_place(self, claim: Claim, lease: Lease) -> Iterator[None]:
        """Exchange the fetch place of the job for a device place."""
        with self.device.hold(Line.FETCHED, lease.check):
            self._free_fetch_place(claim)
            yield

    def _free_fetch_place(self, claim: Claim) -> None:
        """Free the place if the job still has it, and use it for the next photo at a URL.

        While all places were in use, doorbells of such jobs were heard in vain.
        """
        if self.fetches.free(claim):
            _start(self._fetch_next, claim.job.id)

    def _fetch_next(self, doorbell_id: str) -> None:
        try:
            claim = self._claim(doorbell_id, stored=False)
        except Unavailable as error:
            _log.warning("no next photo is fetched: %s", error.detail)
        else:
            if claim is not None:
                self._run_remote(claim)

    def _run(self, claim: Claim) -> None:
        try:
            with bind(**claim.job.log_fields), self.traces.run(claim) as span:
                status = self._run_to_end(claim)
                span.set(status=status or "fenced")
        finally:
            del self.claims[claim.token]

    def _run_to_end(self, claim: Claim) -> Status | None:
        """Return the new state of the job; None if another worker has it now."""
        attempt, alone = claim.job.attempt, claim.suspect
        _log.info("job started", extra={"attempt": attempt} | ({"alone": True} if alone else {}))
        beat_s = min(self.beat_s, _FETCH_BEAT_S) if _is_remote(claim) else self.beat_s
        with Lease(self.store, claim, beat_s, self.drain) as lease:
            end = _with_timings(self._work(claim, lease), lease.timer)
            status = self._record_end(claim, end)
        _log.info("job %s", status or "fenced: another worker has it")
        if status and status.terminal:
            job = claim.job
            Manifests(self.pipeline.storage).remove(job.tenant, job.id, job.generation)
        if end and status:
            _count(claim.job, end, status)
        if isinstance(end, _Requeue) and end.reason is Release.CRASH:
            self.engine.record_charge(claim.job.id)
        return status

    def _work(self, claim: Claim, lease: Lease) -> _End:
        """Run the job; returns None if another worker has it now."""
        try:
            try:
                if _is_remote(claim):
                    return self.pipeline.run(claim, lease, self._device_place(claim, lease))
                return self.pipeline.run(claim, lease)
            except EngineCrashed as crash:
                return self._attribute(crash, lease)
        except EngineLost:
            self.withdraw()
            return _Requeue(Release.DRAIN)
        except FacemendError as error:
            return _end_for(error, claim.job)
        except Exception:  # noqa: BLE001  # the last resort: details go to the log only
            _log.exception("job failed unexpectedly")
            return Outcome(Status.FAILED, error=Internal().problem())

    def _attribute(self, crash: EngineCrashed, lease: Lease) -> _Requeue:
        """Count the crash against the job, if a new engine process starts without it.

        Raises EngineLost if the crash is the worker's fault.
        """
        if self.engine.fault(crash, lease.check) is Fault.JOB:
            return _Requeue(Release.CRASH, problem=Poisoned().problem())
        raise EngineLost

    def _record_end(self, claim: Claim, end: _End) -> Status | None:
        """Write the end into the record, and retry while Redis is away. Returns None if fenced."""
        give_up_s = time.monotonic() + _RECORD_TIMEOUT_S
        while True:
            try:
                return self._write_end(claim, end)
            except Unavailable as error:
                if time.monotonic() > give_up_s:
                    raise
                _log.warning("the end of the job is not written yet: %s", error.detail)
                time.sleep(1)

    def _write_end(self, claim: Claim, end: _End) -> Status | None:
        job_id, token = claim.job.id, claim.token
        if isinstance(end, Outcome):
            return end.status if self.store.runs.finish(job_id, token, end) else None
        if end is None or isinstance(end, Status):
            return end
        return self.store.runs.release(
            job_id, token, end.reason, delay_s=end.delay_s, error=end.problem
        )


def _is_remote(claim: Claim) -> bool:
    """Return whether the photo is at a URL, and not in the object storage."""
    return "url" in claim.job.source


def _start(run: Callable[[_Argument], None], argument: _Argument) -> None:
    threading.Thread(target=run, args=(argument,), name="remote-job", daemon=True).start()


def _with_timings(end: _End, timer: StageTimer) -> _End:
    """Return the end with the times of the stages that a failed or canceled job passed."""
    if isinstance(end, Outcome) and not end.timings_ms:
        return replace(end, timings_ms=timer.timings_ms())
    return end


def _count(job: Job, end: Outcome | _Requeue | Status, status: Status) -> None:
    """Count a run whose end is written."""
    if isinstance(end, Status):
        return
    if isinstance(end, Outcome):
        _count_work(job, end)
    if status is Status.QUEUED and isinstance(end, _Requeue):
        JOBS_RELEASED.labels(model=job.model, reason=end.reason).inc()
        return
    problem = end.error if isinstance(end, Outcome) else end.problem
    code = problem["code"] if problem and status is Status.FAILED else ""
    JOBS_ENDED.labels(model=job.model, status=status, code=code).inc()


def _count_work(job: Job, outcome: Outcome) -> None:
    for stage, ms in outcome.timings_ms.items():
        exemplar = request_exemplar(job.request_id)
        STAGE_SECONDS.labels(model=job.model, stage=stage).observe(ms / 1000, exemplar)
    if job.kind is Kind.DETECTION or outcome.cached:
        return
    for face in (outcome.result or {}).get("faces", ()):
        FACES.labels(model=job.model, status=face["status"]).inc()


def _end_for(error: FacemendError, job: Job) -> _End:
    """Return how the job ends after this error; None if another worker has it."""
    if isinstance(error, LeaseLost):
        return None
    if isinstance(error, EqualJobRuns):
        return Status.QUEUED
    if isinstance(error, JobCanceled):
        return Outcome(Status.CANCELED)
    if isinstance(error, Draining):
        return _Requeue(Release.DRAIN)
    if error.retryable:
        slow = isinstance(error, InputTimeout)
        delay_s = _around(INPUT_BACKOFF_S) if slow else _backoff_s(job)
        _log.warning("retry in %.0f s: %s", delay_s, error.detail)
        reason = Release.INPUT if slow else Release.TRANSIENT
        return _Requeue(reason, delay_s, error.problem())
    return Outcome(Status.FAILED, error=error.problem())


def _backoff_s(job: Job) -> float:
    step = min(max(job.attempt, 1), len(TRANSIENT_BACKOFF_S)) - 1
    return _around(TRANSIENT_BACKOFF_S[step])


def _around(delay_s: float) -> float:
    """Spread retries, so that jobs that failed together do not return together."""
    return delay_s * random.uniform(0.8, 1.2)
