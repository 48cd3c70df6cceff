"""Recovery after a loss: find jobs without a record, and restore records from manifests."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from shared.errors import Unavailable
from shared.jobs.job import Kind, Status
from shared.jobs.pools import DEFAULT_POOL, stored_pool
from shared.redis.client import redis_errors
from shared.redis.keys import redis_key
from shared.redis.scripts import Scripts
from shared.settings import Settings


@dataclass(frozen=True, slots=True)
class Manifest:
    """Everything from which a record can be restored; ``spec`` is stored in the record as it is.

    ``reservation`` and ``fingerprint`` bind the Idempotency-Key again. They do not contain it.
    """

    id: str
    tenant: str
    model: str
    priority: str
    spec: str
    start_before_s: int | None
    generation: int
    reservation: str
    fingerprint: str
    kind: Kind = Kind.RESTORATION
    pool: str = DEFAULT_POOL


@dataclass(frozen=True, slots=True)
class SealedRun:
    """A run that succeeded: its lease token, and its outcome as JSON."""

    token: str
    outcome: str


class RecoveryResult(StrEnum):
    """The result of an attempt to restore a record."""

    QUEUED = "queued"  # restored; the job will run
    SUCCEEDED = "succeeded"  # restored; the job had succeeded
    KNOWN = "known"  # the record exists: nothing to do
    OLDER = "older"  # the record exists, but of the generation before this manifest
    ERASED = "erased"
    SUPERSEDED = "superseded"  # the client repeated the request, and that one became the job


@dataclass(frozen=True, slots=True)
class JobLocation:
    """What Redis knows about a job. ``status`` is None without a record, ``erased`` says why."""

    status: Status | None
    generation: int
    token: str
    erased: bool


class Recovery:
    """``JobStore.recovery``. Every method raises Unavailable if Redis cannot serve."""

    def __init__(self, scripts: Scripts, settings: Settings) -> None:
        self._redis, self._scripts, self._settings = scripts.client, scripts, settings

    def installation(self) -> str | None:
        """Return the name of this Redis, or None. It is lost if Redis is lost."""
        with redis_errors():
            name = self._redis.get(redis_key("installation"))
        return None if name is None else str(name)

    def name_installation(self, name: str) -> str:
        """Name this Redis, unless it has a name. Return the name that it has now."""
        with redis_errors():
            self._redis.set(redis_key("installation"), name, nx=True)
        return self.installation() or name

    def restore(
        self,
        manifest: Manifest,
        *,
        age_s: float,
        sealed: SealedRun | None = None,
        dry_run: bool = False,
    ) -> RecoveryResult:
        """Restore the record of a job, ``age_s`` old, if there is none.

        Repeated calls, also at the same time, change nothing more. ``sealed`` is a run of the job
        that succeeded. With ``dry_run`` nothing is written.
        """
        answer = self._scripts.run(
            "restore",
            id=manifest.id,
            tenant=manifest.tenant,
            model=manifest.model,
            priority=manifest.priority,
            pool=stored_pool(manifest.pool),
            kind=manifest.kind,
            spec=manifest.spec,
            start_before_s=manifest.start_before_s,
            deadline_s=self._settings.job_deadline_s,
            ttl_s=self._settings.result_ttl_s,
            age_s=age_s,
            generation=manifest.generation,
            reservation=manifest.reservation,
            fingerprint=manifest.fingerprint,
            token=sealed.token if sealed else None,
            outcome=sealed.outcome if sealed else None,
            dry_run=dry_run,
        )
        return RecoveryResult(answer)

    def locate(self, installation: str, job_ids: Sequence[str]) -> dict[str, JobLocation]:
        """Read what Redis knows about jobs, at one moment. A wrong Redis raises Unavailable too."""
        answer = self._scripts.run("locate", installation=installation, job_ids=job_ids)
        if answer is None:
            raise Unavailable("Redis was emptied or replaced a moment ago")
        return {
            job_id: JobLocation(
                Status(status) if status else None, int(generation), token, bool(erased)
            )
            for job_id, (status, generation, token, erased) in zip(job_ids, answer, strict=True)
        }
