"""JobStore: the one record of the truth about jobs.

Every transition is one Lua script (``shared/lua``) with Redis' own clock: it happens whole or
not at all, whatever dies. Every method raises Unavailable when Redis cannot serve.
"""

from __future__ import annotations

import builtins  # the class has a method ``list``
import secrets
from collections.abc import Sequence
from typing import Any, Self

import redis

from shared.database import Scripts, connect, redis_errors
from shared.errors import (
    Conflict,
    DeadlineExceeded,
    IdempotencyInProgress,
    NotFound,
    QueueFull,
    SettingsInvalid,
    WorkerLost,
)
from shared.fleet import Fleet
from shared.idempotency import Idempotency, digest, reservation_key
from shared.jobs import MAX_STARTS, RELEASE_BUDGET, Job, Priority, Progress, Release, Status
from shared.listing import Listing
from shared.outbox import Outbox, Went
from shared.records import (
    Beat,
    Claim,
    Delivery,
    DueJob,
    NewJob,
    Outcome,
    ServedModel,
    outcome_json,
    progress_json,
    spec_json,
    to_job,
    to_json,
)
from shared.settings import Settings

__all__ = [
    "Beat",
    "Claim",
    "Delivery",
    "DueJob",
    "JobStore",
    "NewJob",
    "Outcome",
    "ServedModel",
]

#: A queued job's doorbell rings again after so long, unless so many wait in its queue already.
RING_AGAIN_S = 3.0
MAX_DOORBELLS = 1000
TOMBSTONE_S = 86_400


class JobStore:
    """Thread-safe. ``client`` decodes answers to text (see ``connect``)."""

    def __init__(
        self, client: redis.Redis, settings: Settings, scripts: Scripts | None = None
    ) -> None:
        self._redis = client
        self._settings = settings
        self._scripts = scripts or Scripts(client)
        self.outbox = Outbox(self._scripts)
        self._idempotency = Idempotency(self._scripts)
        self._fleet = Fleet(self._scripts)
        self._listing = Listing(self._scripts)

    @classmethod
    def connect(cls, settings: Settings) -> Self:
        return cls(connect(settings), settings)

    # --- taking and reading jobs ------------------------------------------------------------

    def begin_idempotent(self, key_id: str, key: str, fingerprint: str) -> str | None:
        """See ``Idempotency.begin``; ends after 60 s unless ``create`` binds a job to it."""
        return self._idempotency.begin(key_id, key, fingerprint)

    def abandon_idempotent(self, key_id: str, key: str) -> None:
        self._idempotency.abandon(key_id, key)

    def create(self, new: NewJob) -> Job:
        """Take a job, whole: idempotency, quota, record, indexes.

        Raises QueueFull; IdempotencyInProgress if the reservation ended or is another's by now;
        Conflict if the id is or was in use.
        """
        reservation = fingerprint = ""
        if new.idempotency_key is not None:
            reservation = reservation_key(new.key_id, new.idempotency_key)
            if new.idempotency_fingerprint is not None:
                fingerprint = digest(new.idempotency_fingerprint)
        answer = self._scripts.run(
            "create",
            *(new.id, new.tenant, new.model, new.priority, spec_json(new)),
            "" if new.start_before_s is None else new.start_before_s,
            self._settings.job_deadline_s,
            self._settings.result_ttl_s,
            self._settings.max_queued_per_tenant,
            *(reservation, fingerprint),
        )
        match answer:
            case "full":
                raise QueueFull(retry_after_s=10)
            case "reservation":
                raise IdempotencyInProgress
            case "exists":
                raise Conflict("There is or was a job of this id")
        return to_job(new.id, answer)

    def get(self, tenant: str, job_id: str) -> Job:
        """Raises NotFound, alike for a missing job and for another tenant's."""
        answer = self._scripts.run("read", job_id)
        if answer is None:
            raise NotFound
        job = to_job(job_id, answer[0], answer[1])
        if job.tenant != tenant:
            raise NotFound
        return job

    def list(
        self,
        tenant: str,
        *,
        status: Status | None = None,
        model: str | None = None,
        limit: int = 20,
        cursor: str | None = None,
    ) -> tuple[list[Job], str | None]:
        """See ``Listing.page``: newest first."""
        return self._listing.page(tenant, status=status, model=model, limit=limit, cursor=cursor)

    def cancel(self, tenant: str, job_id: str) -> Job:
        """A queued job is canceled at once, a running one asked to stop (again: no change).

        Raises NotFound; Conflict for a job that has ended.
        """
        answer = self._scripts.run("cancel", job_id, tenant)
        if answer is None:
            raise NotFound
        if isinstance(answer, str):
            raise Conflict(f"The job is already {answer}")
        return to_job(job_id, answer)

    # --- the worker's side ------------------------------------------------------------------

    def claim(self, job_id: str, worker: str) -> Claim | None:
        """Start a queued job. None: there is nothing to do for this message, drop it.

        A job whose start deadline is over fails here.
        """
        token = secrets.token_hex(16)
        answer = self._scripts.run(
            "claim",
            *(job_id, worker[:64], token),
            *(self._settings.lease_s, self._settings.job_deadline_s, _TOO_LATE),
        )
        return Claim(to_job(job_id, answer), token) if answer else None

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
        args = (job_id, token, outcome.status, outcome_json(outcome))
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

        Answers what it is now: queued; failed (with ``error``, else worker-lost) if the budget
        of ``reason`` or of starts is spent; canceled if that was asked; None if fenced.
        """
        problem = to_json(error) if error else _WORKER_LOST
        budget = RELEASE_BUDGET[reason]
        answer = self._scripts.run(
            "release", job_id, token, reason, budget, MAX_STARTS, delay_s, problem
        )
        return Status(answer) if answer else None

    def announce(self, worker: str, models: Sequence[ServedModel]) -> None:
        self._fleet.announce(worker, models)

    def served_models(self) -> builtins.list[ServedModel]:
        return self._fleet.served_models()

    def worker_alive(self, host: str) -> bool:
        return self._fleet.alive(host)

    # --- the notifier's side ----------------------------------------------------------------

    def due(self, limit: int = 100) -> builtins.list[DueJob]:
        """Queued jobs whose doorbells should ring now, by priority; notes them as rung."""
        answer = self._scripts.run("due", limit, RING_AGAIN_S, MAX_DOORBELLS)
        return [DueJob(job_id, model, Priority(rank)) for job_id, model, rank in answer]

    def reap(self, limit: int = 100) -> builtins.list[tuple[str, Status]]:
        """Take jobs from silent workers and end those past a deadline; what became of each."""
        budget = RELEASE_BUDGET[Release.LOST]
        answer = self._scripts.run("reap", limit, budget, MAX_STARTS, _WORKER_LOST, _TOO_LATE)
        return [(job_id, Status(status)) for job_id, status in answer]

    def take_deliveries(self, limit: int, lease_s: float) -> builtins.list[Delivery]:
        return self.outbox.take(limit, lease_s)

    def delivered(self, delivery: Delivery, record: dict[str, Any]) -> None:
        """``record`` is one try: ``{at, status_code, latency_ms, error}``."""
        self.outbox.note(delivery, Went.DELIVERED, record)

    def retry_delivery(self, delivery: Delivery, record: dict[str, Any], delay_s: float) -> None:
        self.outbox.note(delivery, Went.FAILED, record, delay_s)

    def bury_delivery(self, delivery: Delivery, record: dict[str, Any]) -> None:
        """No further try: a dead letter."""
        self.outbox.note(delivery, Went.FAILED, record)

    def deliveries(self, tenant: str, job_id: str) -> builtins.list[dict[str, Any]]:
        return self.outbox.of_job(tenant, job_id)

    def expired(self, limit: int = 100) -> builtins.list[Job]:
        """Finished jobs that were kept long enough. Erase their objects, then the record."""
        answer = self._scripts.run("expired", limit)
        return [to_job(job_id, view) for job_id, view in answer]

    def erase(self, tenant: str, job_id: str) -> bool:
        """Remove record, indexes and deliveries, whatever state the job is in.

        A worker that runs it is fenced from then on. A tombstone stays for 24 hours, so that
        nothing late revives it. False: there is no such job.
        """
        return bool(self._scripts.run("erase", job_id, tenant, TOMBSTONE_S))

    def expire(self, tenant: str, job_id: str) -> bool:
        """Remove a job that was kept long enough, as ``erase`` does.

        Webhooks that are not delivered yet live on: they tell of the job without its result. False:
        there is no such job, or it was started again.
        """
        return bool(self._scripts.run("erase", job_id, tenant, TOMBSTONE_S, "1"))

    # --- operation --------------------------------------------------------------------------

    def counts(self) -> dict[str, int]:
        """How many there are, by name.

        ``queued``, ``queued.<model>.<priority>``, ``running``, ``kept``, ``deliveries_pending``.
        """
        return dict(self._scripts.run("counts"))

    def ping(self) -> None:
        with redis_errors():
            self._redis.ping()

    def check_policy(self) -> None:
        """Raises SettingsInvalid if Redis may throw jobs away when its memory is full."""
        with redis_errors():
            memory: Any = self._redis.info("memory")
        policy = memory["maxmemory_policy"]
        if memory["maxmemory"] and policy != "noeviction":
            raise SettingsInvalid(
                f"Redis has maxmemory-policy {policy}: it would throw jobs away when memory is"
                " full. Set it to noeviction."
            )


_WORKER_LOST = to_json(WorkerLost().problem())
_TOO_LATE = to_json(DeadlineExceeded().problem())
