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

from shared.errors import (
    Conflict,
    IdempotencyInProgress,
    NotFound,
    QueueFull,
    SettingsInvalid,
)
from shared.jobs.idempotency import FULL_S, Idempotency, digest, reservation_key
from shared.jobs.job import Job, Priority, Status
from shared.jobs.listing import Listing
from shared.jobs.record import (
    Beat,
    Claim,
    Delivery,
    DueJob,
    NewJob,
    Outcome,
    ServedModel,
    to_job,
    to_new_job,
)
from shared.jobs.recovery import Recovery
from shared.jobs.runs import MAX_DOORBELLS, Runs
from shared.jobs.workers import Fleet
from shared.redis.client import Scripts, connect, redis_errors
from shared.settings import Settings
from shared.webhooks.outbox import Outbox

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

TOMBSTONE_S = 86_400


class JobStore(Runs):
    """Thread-safe. ``client`` decodes answers to text (see ``connect``).

    What workers and the dispatcher do with a run is in ``Runs``.
    """

    def __init__(
        self, client: redis.Redis, settings: Settings, scripts: Scripts | None = None
    ) -> None:
        super().__init__(scripts or Scripts(client), settings)
        self._redis = client
        self.outbox = Outbox(self._scripts)
        self.recovery = Recovery(client, self._scripts, settings)
        self._idempotency = Idempotency(self._scripts)
        self._fleet = Fleet(self._scripts)
        self._listing = Listing(self._scripts)

    @classmethod
    def connect(cls, settings: Settings) -> Self:
        return cls(connect(settings), settings)

    # --- taking and reading jobs ------------------------------------------------------------

    def begin_idempotent(
        self,
        key_id: str,
        key: str,
        fingerprint: str,
        room_for: tuple[str, str, Priority] | None = None,
    ) -> str | None:
        """See ``Idempotency.begin``; ends after 60 s unless ``create`` binds a job to it.

        With ``room_for``, tenant, model and priority of the job, also what ``check_room`` does.
        """
        room = (*room_for, *self._bounds) if room_for else ()
        return self._idempotency.begin(key_id, key, fingerprint, room)

    def abandon_idempotent(self, key_id: str, key: str) -> None:
        self._idempotency.abandon(key_id, key)

    def create(self, new: NewJob, bell: str = "") -> Job:
        """Take a job, whole: idempotency, quota, record, indexes, doorbell.

        ``bell`` (see ``queue.Doorbell.message``) rings if its queue has room for it. Raises
        QueueFull; IdempotencyInProgress if the reservation ended or is another's by now; Conflict
        if the id is or was in use.
        """
        reservation = fingerprint = ""
        if new.idempotency_key is not None:
            reservation = reservation_key(new.key_id, new.idempotency_key)
            if new.idempotency_fingerprint is not None:
                fingerprint = digest(new.idempotency_fingerprint)
        answer = self._scripts.run(
            "create",
            *(new.id, new.tenant, new.model, new.priority, new.spec),
            "" if new.start_before_s is None else new.start_before_s,
            self._settings.job_deadline_s,
            self._settings.result_ttl_s,
            *self._bounds,
            *(reservation, fingerprint, new.key_id, new.source.get("bytes", 0)),
            *(bell, MAX_DOORBELLS),
        )
        match answer:
            case "full":
                raise QueueFull(retry_after_s=FULL_S)
            case "reservation":
                raise IdempotencyInProgress
            case "exists":
                raise Conflict("There is or was a job of this id")
        return to_new_job(new, answer)

    def check_room(self, tenant: str, model: str, priority: Priority) -> None:
        """Raises QueueFull if ``create`` would, before anything is stored in vain."""
        if not self._scripts.run("room", tenant, model, priority, *self._bounds):
            raise QueueFull(retry_after_s=FULL_S)

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

    def retry(self, tenant: str, job_id: str, generation: int | None = None, bell: str = "") -> Job:
        """Queue a failed or canceled job once more under its id, as if it were new.

        ``generation`` is what the caller takes it to be: the next one has a manifest. ``bell``
        rings as in ``create``. Raises NotFound; Conflict for a job of another generation, in
        another state or past its expiry; QueueFull.
        """
        answer = self._scripts.run(
            "retry",
            *(job_id, tenant, self._settings.job_deadline_s, *self._bounds),
            *(secrets.token_hex(4), "" if generation is None else generation),
            *(bell, MAX_DOORBELLS),
        )
        match answer:
            case None:
                raise NotFound
            case "full":
                raise QueueFull(retry_after_s=FULL_S)
            case str():
                raise Conflict(f"The job is {answer}; only a failed or canceled one runs again")
        return to_job(job_id, answer)

    @property
    def _bounds(self) -> tuple[float, float]:
        """How much of one tenant may wait."""
        return self._settings.max_queued_per_tenant, self._settings.max_queue_age_s

    # --- workers ----------------------------------------------------------------------------

    def announce(self, worker: str, models: Sequence[ServedModel]) -> None:
        self._fleet.announce(worker, models)

    def served_models(self) -> builtins.list[ServedModel]:
        return self._fleet.served_models()

    def worker_alive(self, host: str) -> bool:
        return self._fleet.alive(host)

    # --- the notifier's side ----------------------------------------------------------------

    def deliveries(self, tenant: str, job_id: str) -> builtins.list[dict[str, Any]]:
        return self.outbox.of_job(tenant, job_id)

    def expired(self, limit: int = 100) -> builtins.list[Job]:
        """Finished jobs that were kept long enough. Erase their objects, then the record."""
        answer = self._scripts.run("expired", limit)
        return [to_job(job_id, view) for job_id, view in answer]

    def erase(self, tenant: str, job_id: str) -> Status | None:
        """Remove record, indexes and deliveries; answers the state that the job was in.

        A worker that runs it is fenced from then on, but may still be writing objects. A tombstone
        stays for 24 hours, so that nothing late revives it. None: there is no such job.
        """
        answer = self._scripts.run("erase", job_id, tenant, TOMBSTONE_S)
        return Status(answer) if answer else None

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
