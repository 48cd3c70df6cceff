"""What happens to a job when its bell rings: the one place that decides retry, release or fail."""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from shared.errors import (
    FacemendError,
    Internal,
    JobCanceled,
    LeaseLost,
    ModelUnavailable,
    Unavailable,
)
from shared.jobs import TRANSIENT_BACKOFF_S, Job, Release, Status
from shared.store import Claim, JobStore, Outcome
from shared.telemetry import bind
from worker.lease import Drain, Draining, Lease
from worker.pipeline import ImageRestorer, Pipeline

_log = logging.getLogger(__name__)
_SETTLE_S = 120.0  # how long a finished job waits for Redis to take the news


@dataclass(frozen=True, slots=True)
class Worker:
    """All that one worker process works with."""

    name: str
    store: JobStore
    pipeline: Pipeline
    restorers: Mapping[str, ImageRestorer]
    drain: Drain
    beat_s: float

    def restore(self, job_id: str) -> None:
        """Answer one ring. The message is only a doorbell: whatever is amiss, the record decides."""
        if self.drain.begun:
            return  # the record still says queued, so the dispatcher rings elsewhere
        claim = self.store.claim(job_id, self.name)
        if claim is None:
            return
        with bind(job_id=job_id):
            _log.info("job started", extra={"attempt": claim.job.attempt})
            with Lease(self.store, claim, self.beat_s, self.drain) as lease:
                settle = self._work(claim, lease)
                _settle(settle)

    def _work(self, claim: Claim, lease: Lease) -> Callable[[], str]:
        """Do the job; returns how to write its end down, which names that end for the log."""
        job, token = claim.job, claim.token
        try:
            outcome = self.pipeline.run(job, token, self._restorer(job), lease.report)
        except LeaseLost:
            return lambda: "fenced"
        except JobCanceled:
            outcome = _ended(Status.CANCELED)
        except Draining:
            return lambda: self._release(claim, Release.DRAIN, 0, None)
        except FacemendError as error:
            if error.retryable:
                delay_s = _backoff_s(job)
                _log.warning("will be tried again in %.0f s: %s", delay_s, error.detail)
                return lambda: self._release(claim, Release.TRANSIENT, delay_s, error)
            outcome = _ended(Status.FAILED, error)
        except Exception:  # the last resort: logged whole, the customer told nothing of it
            _log.exception("job failed unexpectedly")
            outcome = _ended(Status.FAILED, Internal())
        return lambda: self._finish(claim, outcome)

    def _restorer(self, job: Job) -> ImageRestorer:
        try:
            return self.restorers[job.model]
        except KeyError:
            raise ModelUnavailable(
                f"model {job.model} is not loaded by this worker ({', '.join(self.restorers)})"
            ) from None

    def _finish(self, claim: Claim, outcome: Outcome) -> str:
        written = self.store.finish(claim.job.id, claim.token, outcome)
        return outcome.status if written else "fenced"

    def _release(
        self, claim: Claim, reason: Release, delay_s: float, error: FacemendError | None
    ) -> str:
        status = self.store.release(
            claim.job.id,
            claim.token,
            reason,
            delay_s=delay_s,
            error=error.problem() if error else None,
        )
        return status or "fenced"


def _settle(write: Callable[[], str]) -> None:
    """Write the end down; while Redis is away, try again, for the work is done."""
    give_up_s = time.monotonic() + _SETTLE_S
    while True:
        try:
            _log.info("job %s", write())
        except Unavailable as error:
            if time.monotonic() > give_up_s:
                raise
            _log.warning("the job's end is not written yet: %s", error.detail)
            time.sleep(1)
        else:
            return


def _ended(status: Status, error: FacemendError | None = None) -> Outcome:
    outcome = Outcome(status=status, result=None, error=None, warnings=(), timings_ms={})
    return replace(outcome, error=error.problem()) if error else outcome


def _backoff_s(job: Job) -> float:
    step = min(max(job.attempt, 1), len(TRANSIENT_BACKOFF_S)) - 1
    return TRANSIENT_BACKOFF_S[step] * random.uniform(0.8, 1.2)
