"""The batch: many jobs of one request, and the record as everyone reads it. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from typing import Any, Literal

from shared.jobs.job import Job
from shared.jobs.record import NewJob, to_json

COMPLETED_EVENT: Literal["batch.completed"] = "batch.completed"
MAX_ITEMS = 1000


class BatchStatus(StrEnum):
    QUEUED = "queued"  # none of its jobs has started
    RUNNING = "running"
    COMPLETED = "completed"  # every job has ended
    CANCELED = "canceled"  # likewise, after a cancel


class BatchState(StrEnum):
    """What Redis knows of a batch that a manifest describes."""

    UNKNOWN = "unknown"
    INCOMPLETE = "incomplete"  # not all of its jobs are created
    OPEN = "open"
    ENDED = "ended"
    ERASED = "erased"


@dataclass(frozen=True, slots=True)
class Counts:
    """How many items of a batch are in each state. Together they are all items."""

    queued: int
    running: int
    succeeded: int
    failed: int
    canceled: int
    rejected: int  # they became no job
    erased: int


@dataclass(frozen=True, slots=True)
class Batch:
    """One batch. Times are Unix seconds by the clock of Redis.

    ``generation`` grows each time that one of its jobs is retried after the batch had ended.
    ``results`` are the stored results: ``{"manifest": {"key", "bytes"}, "archive": …}``, or None
    while they are written. ``eta_s`` is known only of a batch that ``BatchStore.get`` has read.
    """

    id: str
    tenant: str
    key_id: str
    created_at: float
    started_at: float | None
    finished_at: float | None
    expires_at: float | None
    total: int
    created: int
    counts: Counts
    canceling: bool
    generation: int
    results: dict[str, Any] | None
    eta_s: float | None = None

    @property
    def status(self) -> BatchStatus:
        if self.finished_at is not None:
            return BatchStatus.CANCELED if self.canceling else BatchStatus.COMPLETED
        return BatchStatus.QUEUED if self.started_at is None else BatchStatus.RUNNING


@dataclass(frozen=True, slots=True)
class BatchItem:
    """One item: its job, or the problem for which it was rejected.

    ``job`` is None also if the job was erased or has expired, or is not created yet.
    """

    index: int
    job_id: str | None
    job: Job | None
    problem: dict[str, Any] | None


@dataclass(frozen=True)
class NewBatch:
    """A batch to be created. An item is a job, or the problem (RFC 9457) that rejects it.

    ``idempotency_fingerprint`` is the one that ``Idempotency.begin`` got.
    """

    id: str
    tenant: str
    key_id: str
    items: Sequence[NewJob | Mapping[str, Any]]
    webhook_url: str | None = None
    idempotency_key: str | None = None
    idempotency_fingerprint: str | None = None
    token_id: str | None = None

    @cached_property
    def jobs(self) -> tuple[NewJob, ...]:
        return tuple(item for item in self.items if isinstance(item, NewJob))

    @cached_property
    def entries(self) -> list[str]:
        """The items as the record lists them: the id of a job, or a problem as JSON."""
        return [item.id if isinstance(item, NewJob) else to_json(dict(item)) for item in self.items]


def to_batch(batch_id: str, record: Mapping[str, str]) -> Batch:
    """Return the batch of a record; ignore unknown fields."""
    created, total, rejected = (int(record[name]) for name in ("created", "total", "rejected"))
    # Jobs that are not created yet wait, too.
    queued = int(record["queued"]) + total - rejected - created
    return Batch(
        id=batch_id,
        tenant=record["tenant"],
        key_id=record["key_id"],
        created_at=float(record["created_at"]),
        started_at=_seconds(record, "started_at"),
        finished_at=_seconds(record, "finished_at"),
        expires_at=_seconds(record, "expires_at"),
        total=total,
        created=created,
        counts=Counts(
            queued=queued,
            running=int(record["running"]),
            succeeded=int(record["succeeded"]),
            failed=int(record["failed"]),
            canceled=int(record["canceled"]),
            rejected=rejected,
            erased=int(record["erased"]),
        ),
        canceling="cancel" in record,
        generation=int(record["generation"]),
        results=json.loads(record["results"]) if "results" in record else None,
    )


def _seconds(record: Mapping[str, str], name: str) -> float | None:
    return float(record[name]) if name in record else None
