"""Which jobs the records know, and records made again from manifests."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import redis

from shared.errors import Unavailable
from shared.jobs.job import Status
from shared.redis.client import Scripts, redis_errors, redis_key
from shared.settings import Settings


@dataclass(frozen=True, slots=True)
class Manifest:
    """All that it takes to make a record again; ``spec`` as the record has it.

    ``reservation`` and ``fingerprint`` bind the Idempotency-Key again, without telling it.
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


@dataclass(frozen=True, slots=True)
class SealedRun:
    """A run that succeeded: its lease token, and its outcome as the record keeps it."""

    token: str
    outcome: str


class Revival(StrEnum):
    """What came of a manifest."""

    QUEUED = "queued"  # a job again, to be run
    SUCCEEDED = "succeeded"  # a job again, which had been done
    KNOWN = "known"  # there is a record: nothing to do
    OLDER = "older"  # there is a record, but of a time before the retry that this one promises
    ERASED = "erased"
    SUPERSEDED = "superseded"  # the client sent the same request again, and that one became the job


@dataclass(frozen=True, slots=True)
class Whereabouts:
    """Of one job. ``status`` None: no record; ``erased``: and that is as it should be."""

    status: Status | None
    generation: int
    token: str
    erased: bool


class Recovery:
    """Part of the store (``JobStore.recovery``). Everything raises Unavailable."""

    def __init__(self, client: redis.Redis, scripts: Scripts, settings: Settings) -> None:
        self._redis, self._scripts, self._settings = client, scripts, settings

    def installation(self) -> str | None:
        """The name that this Redis was given; it is lost with everything else."""
        with redis_errors():
            name = self._redis.get(redis_key("installation"))
        return None if name is None else str(name)

    def name_installation(self, name: str) -> str:
        """Give it a name, unless it has one; the one that it has now."""
        with redis_errors():
            self._redis.set(redis_key("installation"), name, nx=True)
        return self.installation() or name

    def revive(
        self,
        manifest: Manifest,
        *,
        age_s: float,
        sealed: SealedRun | None = None,
        dry_run: bool = False,
    ) -> Revival:
        """Make the record of a job that nobody knows, whole, as old as its manifest.

        Again, or by many at once, it does nothing more. ``dry_run``: only tell.
        """
        answer = self._scripts.run(
            "revive",
            *(manifest.id, manifest.tenant, manifest.model, manifest.priority, manifest.spec),
            "" if manifest.start_before_s is None else manifest.start_before_s,
            *(self._settings.job_deadline_s, self._settings.result_ttl_s, age_s),
            *(manifest.generation, manifest.reservation, manifest.fingerprint),
            *((sealed.token, sealed.outcome) if sealed else ("", "")),
            "1" if dry_run else "0",
        )
        return Revival(answer)

    def whereabouts(self, installation: str, job_ids: Sequence[str]) -> dict[str, Whereabouts]:
        """What is known of each job, read at one moment. Also Unavailable in any other Redis."""
        answer = self._scripts.run("whereabouts", installation, *job_ids)
        if answer is None:
            raise Unavailable("Redis was emptied or exchanged a moment ago")
        return {
            job_id: Whereabouts(
                Status(status) if status else None, int(generation), token, bool(erased)
            )
            for job_id, (status, generation, token, erased) in zip(job_ids, answer, strict=True)
        }
