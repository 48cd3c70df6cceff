"""Runs of jobs, from the doorbell to their end: the part of the store for workers and notifier."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

from shared.errors import DeadlineExceeded, Poisoned, WorkerLost
from shared.jobs.job import MAX_STARTS, RELEASE_BUDGET, Job, Progress, Release, Status
from shared.jobs.pools import stored_pool
from shared.jobs.queues import QueueName
from shared.jobs.record import (
    Outcome,
    View,
    outcome_json,
    pairs,
    progress_json,
    to_job,
    to_json,
)
from shared.redis.scripts import Scripts
from shared.settings import Settings

#: The doorbell of a queued job rings again after so long, unless its queue holds enough doorbells.
RING_AGAIN_S = 3.0
MAX_DOORBELLS = 1000  # in one queue


@dataclass(frozen=True, slots=True)
class Claim:
    """The right to run ``job`` until the lease ends. Each further call needs ``token``.

    ``suspect``: its last run may have crashed an engine process, so it runs alone this time.
    ``waited``: it has waited for an equal job.
    """

    job: Job
    token: str
    suspect: bool = False
    waited: bool = False


@dataclass(frozen=True, slots=True)
class Places:
    """The jobs for which a worker has a place at the moment.

    ``stored``: jobs whose photo is in the object storage. ``urls``: jobs whose photo is at a URL,
    but not those of ``full_tenants`` and ``full_hosts``, of which it fetches enough already.
    """

    stored: bool = True
    urls: bool = True
    full_tenants: Sequence[str] = ()
    full_hosts: Sequence[str] = ()

    @property
    def for_any_job(self) -> bool:
        return self == ANY_PLACE


ANY_PLACE = Places()


class Beat(StrEnum):
    """What a worker must do after it renewed its lease."""

    GO_ON = "go-on"
    CANCEL = "cancel"
    FENCED = "fenced"  # another worker may have the job: stop, and write nothing


class WithoutResult(StrEnum):
    """What a worker must do if no equal job has a result."""

    RUN = "run"
    BUSY = "busy"  # an equal job runs now; call again with ``may_wait``, and the job waits for it
    WAIT = "wait"  # the job is back in the queue until the equal job that runs now has ended
    FENCED = "fenced"  # another worker may have the job: stop, and write nothing


@dataclass(frozen=True, slots=True)
class DueJob:
    """A queued job whose doorbell should ring."""

    id: str
    queue: QueueName


class Runs:
    """``JobStore.runs``. Every method raises Unavailable if Redis cannot serve."""

    def __init__(self, scripts: Scripts, settings: Settings) -> None:
        self._scripts = scripts
        self._settings = settings

    def due(self, limit: int = 100) -> list[DueJob]:
        """Return queued jobs whose doorbells should ring now, by priority. Count these as sent."""
        answer = self._scripts.run(
            "due_doorbells", limit=limit, ring_again_s=RING_AGAIN_S, max_doorbells=MAX_DOORBELLS
        )
        return [DueJob(job_id, QueueName.of_key(f"{rank}:{name}")) for job_id, name, rank in answer]

    def claim(self, job_id: str, worker: str, places: Places = ANY_PLACE) -> Claim | None:
        """Start the next job in the queue of ``job_id``; often that is another job.

        The queue is that of the pool of this worker (``settings.pool``), whatever pool the job of
        the doorbell is in.

        Tenants take turns, and each tenant's oldest job is first. Jobs for which the worker has no
        place are passed over, and stay queued. Returns None if there is nothing to do for this
        doorbell. Jobs whose deadline for a start is over fail here.
        """
        token = secrets.token_hex(16)
        answer = self._scripts.run(
            "claim",
            doorbell_id=job_id,
            worker=worker[:64],
            pool=stored_pool(self._settings.pool),
            token=token,
            lease_s=self._settings.lease_s,
            deadline_s=self._settings.job_deadline_s,
            too_late=_TOO_LATE,
            never_started=_NEVER_STARTED,
            places=None if places.for_any_job else to_json(asdict(places)),
        )
        if not answer:
            return None
        started, view = answer
        return _to_claim(started, view, token)

    def beat(self, job_id: str, token: str) -> Beat:
        """Renew the lease. Call it every ``settings.beat_s``."""
        lease_s = self._settings.lease_s
        return Beat(self._scripts.run("beat", id=job_id, token=token, lease_s=lease_s))

    def progress(self, job_id: str, token: str, progress: Progress) -> Beat:
        """Store the progress of the run."""
        content = progress_json(progress)
        return Beat(self._scripts.run("progress", id=job_id, token=token, progress=content))

    def find_equal(
        self,
        job_id: str,
        token: str,
        content: str,
        *,
        without: str | None = None,
        may_wait: bool = True,
    ) -> Job | WithoutResult:
        """Return an equal job of the same tenant that has succeeded, or what to do without one.

        ``content`` is the digest of all that decides the result. From now on, equal jobs wait for
        this run, and find its result. ``without``: the id of a job whose result was found to be
        gone. If an equal job runs now and the job ``may_wait``, this run ends and the job waits in
        the queue; it does so only once.
        """
        answer = self._scripts.run(
            "find_equal",
            id=job_id,
            token=token,
            content=content,
            without=without,
            may_wait=may_wait,
        )
        return WithoutResult(answer) if isinstance(answer, str) else to_job(*answer)

    def finish(self, job_id: str, token: str, outcome: Outcome) -> bool:
        """End a run in one step: state, outcome, expiry, event and delivery.

        The job is canceled if a cancel was accepted before, whatever ``outcome`` says. Returns
        False if the run is fenced; then nothing changes.
        """
        return bool(
            self._scripts.run(
                "finish",
                id=job_id,
                token=token,
                status=outcome.status,
                outcome=outcome_json(outcome),
                faces=outcome.faces_restored,
                busy_ms=outcome.busy_ms,
                cached=outcome.cached,
            )
        )

    def release(
        self,
        job_id: str,
        token: str,
        reason: Release,
        *,
        delay_s: float = 0,
        error: dict[str, Any] | None = None,
    ) -> Status | None:
        """Return a running job to its queue. It may start again after ``delay_s``.

        Returns the new state: queued; canceled if a cancel was accepted before; failed if the
        budget of ``reason`` or of starts is used up. Then its error is ``error``, else worker-lost,
        or poisoned after crashes. Returns None if the run is fenced. After a crash the job is a
        suspect (``Claim.suspect``). A poisoned job is kept as long as its photo in quarantine.
        """
        crashed = reason is Release.CRASH
        problem = to_json(error) if error else _POISONED if crashed else _WORKER_LOST
        answer = self._scripts.run(
            "release",
            id=job_id,
            token=token,
            reason=reason,
            budget=RELEASE_BUDGET[reason],
            max_starts=MAX_STARTS,
            delay_s=delay_s,
            keep_s=self._settings.quarantine_ttl_s if crashed else None,
            problem=problem,
            exhausted=_WORKER_LOST if crashed else problem,
        )
        return Status(answer) if answer else None

    def refund(self, job_ids: Sequence[str]) -> int:
        """Take back the crashes of jobs that have not ended, because the worker was at fault.

        The jobs are no longer suspects, and those starts do not count. Returns how many jobs had a
        crash.
        """
        return int(self._scripts.run("refund", job_ids=job_ids))

    def reap(self, limit: int = 100) -> list[tuple[str, Status]]:
        """Requeue jobs whose lease is over, and fail late jobs. Return the new states."""
        answer = self._scripts.run(
            "reap_lost_jobs",
            limit=limit,
            budget=RELEASE_BUDGET[Release.LOST],
            max_starts=MAX_STARTS,
            worker_lost=_WORKER_LOST,
            too_late=_TOO_LATE,
            never_started=_NEVER_STARTED,
        )
        return [(job_id, Status(status)) for job_id, status in answer]


def _to_claim(job_id: str, view: View, token: str) -> Claim:
    """Build the claim from a record that ``claim`` has just started."""
    record = pairs(view[0])
    return Claim(
        to_job(job_id, view), token, suspect="spent_crash" in record, waited="waited" in record
    )


_WORKER_LOST = to_json(WorkerLost().problem())
_POISONED = to_json(Poisoned().problem())
_TOO_LATE = to_json(DeadlineExceeded().problem())
_NEVER_STARTED = to_json(
    DeadlineExceeded(
        "The job never started: it was still in the queue when start_before_s, or the time that a"
        " job may take in all, was over"
    ).problem()
)
