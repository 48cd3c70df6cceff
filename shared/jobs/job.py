"""The job: its states, what may follow what, and the record as everyone reads it. Pure."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Literal

from shared.jobs.pools import DEFAULT_POOL


class Status(StrEnum):
    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELED = "canceled"

    @property
    def terminal(self) -> bool:
        """The job has ended; only a retry brings it back."""
        return self in TERMINAL_EVENT


#: Which state may follow which. The scripts in ``shared/lua/`` enforce it; tests compare the two.
TRANSITIONS: dict[Status, frozenset[Status]] = {
    Status.QUEUED: frozenset({Status.RUNNING, Status.FAILED, Status.CANCELED}),
    Status.RUNNING: frozenset({Status.QUEUED, Status.SUCCEEDED, Status.FAILED, Status.CANCELED}),
    Status.SUCCEEDED: frozenset(),
    Status.FAILED: frozenset({Status.QUEUED}),  # by a retry, which begins a new generation
    Status.CANCELED: frozenset({Status.QUEUED}),
}


class Stage(StrEnum):
    """Where a running job is, in order."""

    FETCHING = "fetching"
    DETECTING = "detecting"
    RESTORING = "restoring"
    PASTING = "pasting"
    PUBLISHING = "publishing"


class Priority(StrEnum):
    HIGH = "high"
    NORMAL = "normal"
    LOW = "low"


class Kind(StrEnum):
    """What a job does. All kinds have the same states, queues and retries."""

    RESTORATION = "restoration"
    DETECTION = "detection"  # finds the faces, and restores none

    @property
    def id_prefix(self) -> str:
        """The first part of the ids of these jobs (see ``new_id``)."""
        return {Kind.RESTORATION: "job", Kind.DETECTION: "det"}[self]


class Release(StrEnum):
    """Why a running job goes back to ``queued``; each reason has a budget of its own."""

    TRANSIENT = "transient"
    INPUT = "input"  # the server of the photo's URL was slow or not reachable
    DRAIN = "drain"
    LOST = "lost"
    CRASH = "crash"  # of the engine child; the job is a suspect and starts alone the next time


#: Times a job may go back to ``queued`` for each reason, and starts in all.
RELEASE_BUDGET: dict[Release, int] = {
    Release.TRANSIENT: 4,
    Release.INPUT: 1,
    Release.LOST: 6,
    Release.DRAIN: 20,
    Release.CRASH: 1,
}
MAX_STARTS = 12
#: Waits before a transient error is tried again, in seconds (± 20 % by the caller).
TRANSIENT_BACKOFF_S = (2.0, 10.0, 60.0, 300.0)
#: Wait before the photo's server is asked once more, in seconds (± 20 % by the caller).
INPUT_BACKOFF_S = 10.0


class Event(StrEnum):
    """Types of webhook events."""

    STARTED = "restoration.started"  # once a generation
    SUCCEEDED = "restoration.succeeded"
    FAILED = "restoration.failed"
    CANCELED = "restoration.canceled"


TERMINAL_EVENT: dict[Status, Event] = {
    Status.SUCCEEDED: Event.SUCCEEDED,
    Status.FAILED: Event.FAILED,
    Status.CANCELED: Event.CANCELED,
}


@dataclass(frozen=True, slots=True)
class Progress:
    stage: Stage
    faces_done: int = 0
    faces_total: int | None = None
    enlarged: float | None = None  # share of the background done; None: it is kept as it is

    @property
    def percent(self) -> int:
        """0…100, by stage; restoring fills 20…90, most of it the background if that is enlarged."""
        start = {
            Stage.FETCHING: 0,
            Stage.DETECTING: 10,
            Stage.RESTORING: 20,
            Stage.PASTING: 90,
            Stage.PUBLISHING: 95,
        }[self.stage]
        if self.stage is not Stage.RESTORING:
            return start
        background = 0 if self.enlarged is None else 55
        faces = self.faces_done / self.faces_total if self.faces_total else 0.0
        return start + int(background * (self.enlarged or 0) + (70 - background) * faces)


#: Why it is not known when a queued job starts: no live worker serves its model, no job of the
#: model has succeeded yet, or an operator has paused its queue.
WaitUnknown = Literal["no-worker", "not-measured", "paused"]


@dataclass(frozen=True, slots=True)
class Job:
    """One job as the record has it. Times are Unix seconds by Redis' clock.

    ``request`` is the accepted request (schemas.RestorationRequest as JSON object, without the
    webhook's secret), ``source`` where the bytes are: ``{"key": …, "etag": …}`` for a stored
    object or ``{"url": …}``. ``result`` holds object keys, never presigned addresses.
    ``queue_position`` (1: next) and ``queue_eta_s`` are known only of a queued job that
    ``JobStore.get`` has read; ``queue_eta_reason`` says why there is no estimate. ``request_id`` is
    that of the HTTP request that created the job, or empty. ``batch`` is the id of its batch.
    """

    id: str
    tenant: str
    status: Status
    model: str
    priority: Priority
    request: dict[str, Any]
    source: dict[str, Any]
    created_at: float
    started_at: float | None = None
    finished_at: float | None = None
    expires_at: float | None = None
    attempt: int = 0  # starts in this generation
    generation: int = 1  # grows with each retry
    cancel_requested: bool = False
    progress: Progress | None = None
    result: dict[str, Any] | None = None
    error: dict[str, Any] | None = None
    warnings: tuple[str, ...] = ()
    timings_ms: dict[str, int] = field(default_factory=dict)
    cached: bool = False  # the result is a copy of that of an equal job
    queue_position: int | None = None
    queue_eta_s: float | None = None
    queue_eta_reason: WaitUnknown | None = None
    version: int = 0  # grows with every write; the ETag is made of it
    request_id: str = ""
    kind: Kind = Kind.RESTORATION
    batch: str | None = None
    trace: str = ""  # W3C traceparent of that request, or empty
    pool: str = DEFAULT_POOL

    @property
    def poisoned(self) -> bool:
        """The job failed because its photo crashed the engine process."""
        return self.error is not None and self.error.get("code") == "poisoned"

    @property
    def log_fields(self) -> dict[str, str]:
        """The fields of every log line about the job; see ``shared.telemetry.bind``."""
        return log_fields(self.id, self.tenant, self.request_id)


def log_fields(job_id: str, tenant: str, request_id: str) -> dict[str, str]:
    """Return the fields of a log line about a job. A field that is not known is left out."""
    fields = {"job_id": job_id, "tenant": tenant, "request_id": request_id}
    return {name: value for name, value in fields.items() if value}


def new_id(prefix: str) -> str:
    """``prefix_`` and a UUIDv7 (RFC 9562 §5.7) in hex: sorts by time of creation."""
    value = int(time.time() * 1000) << 80 | int.from_bytes(os.urandom(10))
    value = value & ~(0xF << 76) | 0x7 << 76
    value = value & ~(0x3 << 62) | 0x2 << 62
    return f"{prefix}_{value:032x}"
