"""JobStore: the records of jobs in Redis, which decide what is true about a job.

Every transition is one Lua script (``shared/lua``) that uses the clock of Redis. It happens as a
whole or not at all, whichever process dies. Every method raises Unavailable if Redis cannot serve.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

from shared.digest import digest
from shared.errors import (
    Conflict,
    Forbidden,
    IdempotencyInProgress,
    NotFound,
    QueueFull,
    SettingsInvalid,
)
from shared.jobs.cursor import decode, encode
from shared.jobs.idempotency import FULL_S, Idempotency, reservation_key
from shared.jobs.job import Job, Status
from shared.jobs.leadership import Leadership
from shared.jobs.pools import DEFAULT_POOL, ModelInPool, stored_pool
from shared.jobs.queues import QueueName, Queues
from shared.jobs.record import NewJob, key_id_of, to_job, to_new_job
from shared.jobs.recovery import Recovery
from shared.jobs.runs import MAX_DOORBELLS, Runs
from shared.jobs.workers import MeanWork, Wait, Workers
from shared.redis.client import connect, redis_errors
from shared.redis.scripts import Scripts
from shared.settings import Settings
from shared.telemetry import JOBS_UNREPLICATED

#: A page reads at most so many records, so that a filter for a rare status does not block Redis.
SCANNED = 500
#: The longest wait of a submission for replicas of Redis, in seconds.
_REPLICAS_S = 0.2
#: The id of an erased job is blocked for so long, so that no late writer restores the job.
TOMBSTONE_S = 86_400
_SPENT = "This token may create no more jobs."


@dataclass(frozen=True, slots=True)
class ServiceLoad:
    """``oldest_s``: by queue, how long the first job could have started already.

    ``waiting_s`` and ``running_s``: by model and pool, the *face-seconds* of its jobs, which is
    the time that one device needs for their faces. ``webhook_late_s``: how late the first due
    webhook is.
    """

    oldest_s: dict[QueueName, float]
    waiting_s: dict[ModelInPool, float]
    running_s: dict[ModelInPool, float]
    webhook_late_s: float


class JobStore:
    """Thread-safe. ``runs`` is for workers, ``recovery`` for rebuilding from manifests."""

    def __init__(self, scripts: Scripts, settings: Settings) -> None:
        self.scripts = self._scripts = scripts
        self.settings = self._settings = settings
        self.runs = Runs(scripts, settings)
        self.workers = Workers(scripts)
        self.queues = Queues(scripts)
        self.idempotency = Idempotency(scripts, settings)
        self.recovery = Recovery(scripts, settings)

    @classmethod
    def connect(cls, settings: Settings) -> Self:
        """Build a store with a client of its own. It connects at the first call."""
        return cls(Scripts(connect(settings)), settings)

    # --- creating and reading jobs ----------------------------------------------------------

    def create(self, new: NewJob, message: str | None = None) -> Job:
        """Create a job in one step: idempotency check, quota, record, indexes and doorbell.

        ``message`` (see ``Doorbell.message``) rings if the queue has room for it. Raises QueueFull;
        IdempotencyInProgress if the reservation has ended or belongs to another request; Conflict
        if the id is or was in use; Forbidden if the token may create no more jobs.
        """
        reservation = fingerprint = None
        if new.idempotency_key is not None:
            reservation = reservation_key(new.key_id, new.idempotency_key)
            if new.idempotency_fingerprint is not None:
                fingerprint = digest(new.idempotency_fingerprint)
        wanted = self._settings.redis_wait_replicas
        answer, replicas = self._scripts.run_replicated(
            "create",
            wanted,
            _REPLICAS_S,
            id=new.id,
            tenant=new.tenant,
            model=new.model,
            priority=new.priority,
            pool=stored_pool(new.pool),
            kind=new.kind,
            spec=new.spec,
            start_before_s=new.start_before_s,
            deadline_s=self._settings.job_deadline_s,
            ttl_s=self._settings.result_ttl_s,
            max_queued=self._settings.max_queued_per_tenant,
            max_age_s=self._settings.max_queue_age_s,
            reservation=reservation,
            fingerprint=fingerprint,
            key_id=new.key_id,
            token_id=new.token_id,
            input_bytes=new.source.get("bytes", 0),
            message=message,
            max_doorbells=MAX_DOORBELLS,
        )
        match answer:
            case "full":
                raise QueueFull(retry_after_s=FULL_S)
            case "reservation":
                raise IdempotencyInProgress
            case "spent":
                raise Forbidden(_SPENT)
            case "exists":
                raise Conflict("There is or was a job of this id")
        if replicas < wanted:  # accepted all the same: its manifest survives a failover
            JOBS_UNREPLICATED.inc()
        return to_new_job(new, answer)

    def check_room(self, tenant: str, queue: QueueName) -> None:
        """Raises QueueFull if ``create`` would; call it before you store objects for the job."""
        if not self._scripts.run(
            "has_room",
            tenant=tenant,
            model=queue.model,
            priority=queue.priority,
            pool=stored_pool(queue.pool),
            max_queued=self._settings.max_queued_per_tenant,
            max_age_s=self._settings.max_queue_age_s,
        ):
            raise QueueFull(retry_after_s=FULL_S)

    def get(self, tenant: str, job_id: str) -> Job:
        """Return a job. Raises NotFound, also for a job of another tenant."""
        answer = self._scripts.run("read", id=job_id)
        if answer is None:
            raise NotFound
        view, *queue = answer
        job = to_job(job_id, view)
        if job.tenant != tenant:
            raise NotFound
        if not queue:
            return job
        ahead, jobs, faces, busy_ms, paused = queue
        work = MeanWork(int(faces) / int(jobs), int(busy_ms) / int(jobs) / 1000) if jobs else None
        served = QueueName.of(job).served
        wait = Wait(unknown="paused") if paused else self.workers.wait(served, ahead, work)
        return replace(
            job,
            queue_position=ahead + 1,
            queue_eta_s=wait.seconds,
            queue_eta_reason=wait.unknown,
        )

    def find(self, job_id: str) -> tuple[Job, str]:
        """Return a job of any tenant and the id of the API key that created it, for operators.

        Raises NotFound.
        """
        found = self._scripts.run("read", id=job_id)
        if found is None:
            raise NotFound
        return to_job(job_id, found[0]), key_id_of(found[0])

    def latest(self, status: Status, limit: int) -> list[Job]:
        """Return jobs of all tenants in one state, for operators.

        Those that wait or run come first by age; of those that ended, the latest. At most the last
        ``SCANNED`` jobs that ended are read.
        """
        found = self._scripts.run("latest", status=status, limit=limit, scan=SCANNED)
        return [to_job(job_id, view) for job_id, view in found]

    def versions(self, job_ids: Sequence[str]) -> dict[str, tuple[int, Status]]:
        """Return version and status of each job that exists, whoever its tenant is."""
        response = self._scripts.run("versions", ids=job_ids)
        pairs = zip(job_ids, response[::2], response[1::2], strict=True)
        return {
            job_id: (int(version), Status(status)) for job_id, version, status in pairs if version
        }

    def log_fields(self, job_id: str) -> dict[str, str]:
        """Return the fields of a log line about a job of any tenant. Raises Unavailable."""
        found = self._scripts.run("read", id=job_id)
        return to_job(job_id, found[0]).log_fields if found else {"job_id": job_id}

    def cancel(self, tenant: str, job_id: str) -> Job:
        """Cancel a queued job at once, or ask a running job to stop. Repeating changes nothing.

        Raises NotFound; Conflict for a job that has ended.
        """
        answer = self._scripts.run("cancel", id=job_id, tenant=tenant)
        if answer is None:
            raise NotFound
        if isinstance(answer, str):
            raise Conflict(f"The job is already {answer}")
        return to_job(job_id, answer)

    def retry(
        self,
        tenant: str,
        job_id: str,
        generation: int | None = None,
        message: str | None = None,
        *,
        token_id: str | None = None,
        pool: str = DEFAULT_POOL,
    ) -> Job:
        """Queue a failed or canceled job once more under its id, as if it were new.

        ``generation`` is the one that the caller has seen and written the next manifest for.
        ``message`` rings as in ``create``, and ``token_id`` counts. The job waits in ``pool``.

        Raises NotFound; QueueFull; Forbidden as ``create`` does; Conflict for a job of another
        generation, in another state, or past its expiry.
        """
        answer = self._scripts.run(
            "retry",
            id=job_id,
            tenant=tenant,
            deadline_s=self._settings.job_deadline_s,
            max_queued=self._settings.max_queued_per_tenant,
            max_age_s=self._settings.max_queue_age_s,
            pool=stored_pool(pool),
            call=secrets.token_hex(4),
            generation=generation,
            token_id=token_id,
            message=message,
            max_doorbells=MAX_DOORBELLS,
        )
        match answer:
            case None:
                raise NotFound
            case "full":
                raise QueueFull(retry_after_s=FULL_S)
            case "spent":
                raise Forbidden(_SPENT)
            case str():
                raise Conflict(f"The job is {answer}; only a failed or canceled one runs again")
        return to_job(job_id, answer)

    # --- erasing ----------------------------------------------------------------------------

    def claim_expired(self, limit: int = 100, claim_s: float = 60.0) -> list[Job]:
        """Return finished jobs that were kept long enough.

        The caller erases their objects, and then calls ``expire``. For ``claim_s`` seconds no other
        caller gets these jobs. They cannot be retried any more.
        """
        answer = self._scripts.run("claim_expired", limit=limit, claim_s=claim_s)
        return [to_job(job_id, view) for job_id, view in answer]

    def erase(self, tenant: str, job_id: str) -> Status | None:
        """Remove record, indexes and deliveries. Return the state that the job had.

        A worker that runs the job is fenced from now on, but it may still write objects. The id
        stays blocked for 24 hours, so that no late writer restores the job. Returns None if there
        is no such job.
        """
        answer = self._erase(tenant, job_id, expired=False)
        return Status(answer) if answer else None

    def expire(self, tenant: str, job_id: str) -> bool:
        """Remove a job of ``claim_expired``, as ``erase`` does.

        Deliveries that are not delivered yet stay, and show the job without its result. Returns
        False if there is no such job, or nobody has claimed it.
        """
        return bool(self._erase(tenant, job_id, expired=True))

    def _erase(self, tenant: str, job_id: str, *, expired: bool) -> str | None:
        found = self._scripts.run(
            "erase", id=job_id, tenant=tenant, tombstone_s=TOMBSTONE_S, expired=expired
        )
        return None if found is None else str(found)

    # --- operation --------------------------------------------------------------------------

    def counts(self) -> dict[str, int]:
        """Count by name, all at one moment.

        ``queued``, ``queued.`` and the name of a queue, ``running``, ``kept``,
        ``deliveries_pending``.
        """
        return dict(self._scripts.run("job_counts"))

    def leadership(self, task: str, lease_s: float) -> Leadership:
        """Return a lease on a task of the whole service, which is not held yet."""
        return Leadership(self._scripts, task, lease_s)

    def load(self) -> ServiceLoad:
        """Return how long jobs and webhooks have waited, and how much work waits and runs."""
        oldest_s: dict[QueueName, float] = {}
        work_s: dict[str, dict[ModelInPool, float]] = {"waiting": {}, "running": {}}
        webhook_late_s = 0.0
        for kind, ms, *of in self._scripts.run("service_load"):
            match kind:
                case "oldest":
                    oldest_s[QueueName.of_key(f"{of[1]}:{of[0]}")] = ms / 1000
                case "webhook":
                    webhook_late_s = ms / 1000
                case _:
                    work_s[kind][ModelInPool.parse(of[0])] = ms / 1000
        return ServiceLoad(oldest_s, work_s["waiting"], work_s["running"], webhook_late_s)

    def ping(self) -> None:
        """Raises Unavailable if Redis does not respond."""
        with redis_errors():
            self._scripts.client.ping()

    def check_policy(self) -> None:
        """Raises SettingsInvalid if Redis may delete jobs when its memory is full."""
        with redis_errors():
            memory: Any = self._scripts.client.info("memory")
        policy = memory["maxmemory_policy"]
        if memory["maxmemory"] and policy != "noeviction":
            raise SettingsInvalid(
                f"Redis has maxmemory-policy {policy}: it would delete jobs when its memory is"
                " full. Set it to noeviction."
            )

    def page(
        self,
        tenant: str,
        *,
        status: Status | None = None,
        model: str | None = None,
        limit: int = 20,
        cursor: str | None = None,
    ) -> tuple[list[Job], str | None]:
        """Return a page of the tenant's jobs, newest first, and the next cursor, None at the end.

        A page begins behind ``cursor``. It may be shorter than ``limit`` before the end (see
        ``SCANNED``). Raises InvalidRequest for an unknown cursor, Unavailable.
        """
        at, last_id = decode(cursor) if cursor is not None else ("+inf", "")
        found, *place = self._scripts.run(
            "list_page",
            tenant=tenant,
            until_at=at,
            until_id=last_id,
            status=status,
            model=model,
            limit=limit,
            scan=SCANNED,
        )
        jobs = [to_job(job_id, view) for job_id, view in found]
        return jobs, encode(*place) if place else None
