"""The workers' and the dispatcher's side of the store: runs, from a doorbell to their end."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from typing import Any

from shared.errors import DeadlineExceeded, Poisoned, WorkerLost
from shared.jobs.job import MAX_STARTS, RELEASE_BUDGET, Priority, Progress, Release, Status
from shared.jobs.record import (
    Beat,
    Claim,
    DueJob,
    Outcome,
    outcome_json,
    progress_json,
    to_claim,
    to_json,
)
from shared.redis.client import Scripts
from shared.settings import Settings

#: A queued job's doorbell rings again after so long, unless its queue holds enough of them.
RING_AGAIN_S = 3.0
MAX_DOORBELLS = 1000


class Runs:
    """Part of ``JobStore``. Every method raises Unavailable when Redis cannot serve."""

    def __init__(self, scripts: Scripts, settings: Settings) -> None:
        self._scripts = scripts
        self._settings = settings

    # --- doorbells --------------------------------------------------------------------------

    def due(self, limit: int = 100) -> list[DueJob]:
        """Queued jobs whose doorbells should ring now, by priority; notes them as rung."""
        answer = self._scripts.run("due", limit, RING_AGAIN_S, MAX_DOORBELLS)
        return [DueJob(job_id, model, Priority(rank)) for job_id, model, rank in answer]

    # --- a run ------------------------------------------------------------------------------

    def claim(self, job_id: str, worker: str) -> Claim | None:
        """Start the job whose turn it is in the queue of ``job_id``: often another one.

        Tenants take turns, and each has its oldest job first. None: there is nothing to do for
        this message, drop it. Jobs whose start deadline is over fail here.
        """
        token = secrets.token_hex(16)
        answer = self._scripts.run(
            "claim",
            *(job_id, worker[:64], token),
            *(self._settings.lease_s, self._settings.job_deadline_s, _TOO_LATE),
        )
        if not answer:
            return None
        started, view = answer
        return to_claim(started, view, token)

    def beat(self, job_id: str, token: str) -> Beat:
        """Prolong the lease, every ``settings.beat_s``."""
        return Beat(self._scripts.run("beat", job_id, token, self._settings.lease_s))

    def progress(self, job_id: str, token: str, progress: Progress) -> Beat:
        return Beat(self._scripts.run("progress", job_id, token, progress_json(progress)))

    def finish(self, job_id: str, token: str, outcome: Outcome) -> bool:
        """End a run: state, outcome, expiry, event and delivery in one step.

        A cancel accepted before makes it canceled, whatever ``outcome`` says. False: fenced,
        nothing changed.
        """
        args = (job_id, token, outcome.status, outcome_json(outcome), outcome.faces_restored)
        return bool(self._scripts.run("finish", *args))

    def release(
        self,
        job_id: str,
        token: str,
        reason: Release,
        *,
        delay_s: float = 0,
        error: dict[str, Any] | None = None,
    ) -> Status | None:
        """Give a running job back, to start again after ``delay_s``.

        Answers what it is now: queued; failed if the budget of ``reason`` or of starts is spent
        (with ``error``, else worker-lost, or poisoned after crashes); canceled if that was asked;
        None if fenced. After a crash it is a suspect (``Claim.suspect``).
        """
        crashed = reason is Release.CRASH
        problem = to_json(error) if error else _POISONED if crashed else _WORKER_LOST
        exhausted = _WORKER_LOST if crashed else problem
        budget = RELEASE_BUDGET[reason]
        answer = self._scripts.run(
            "release",
            *(job_id, token, reason, budget, MAX_STARTS, delay_s, problem, exhausted),
        )
        return Status(answer) if answer else None

    def absolve(self, job_ids: Sequence[str]) -> int:
        """Take back the crashes of jobs that have not ended: the worker was at fault.

        They are no suspects any more, and their starts do not count. Answers how many had any.
        """
        return int(self._scripts.run("absolve", *job_ids))

    def reap(self, limit: int = 100) -> list[tuple[str, Status]]:
        """Take jobs from silent workers and end those past a deadline; what became of each."""
        budget = RELEASE_BUDGET[Release.LOST]
        answer = self._scripts.run("reap", limit, budget, MAX_STARTS, _WORKER_LOST, _TOO_LATE)
        return [(job_id, Status(status)) for job_id, status in answer]


_WORKER_LOST = to_json(WorkerLost().problem())
_POISONED = to_json(Poisoned().problem())
_TOO_LATE = to_json(DeadlineExceeded().problem())
