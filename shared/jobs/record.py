"""What goes into the store and comes out of it: small frozen records, and their form in Redis."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from functools import cached_property
from typing import Any

from shared.jobs.compression import pack, unpack
from shared.jobs.job import Job, Priority, Progress, Stage, Status

#: A record as the scripts return it: HGETALL of the small fields, spec, outcome if there is one.
View = tuple[list[str], str, str | None]


@dataclass(frozen=True)
class NewJob:
    """A job to be taken. ``webhook`` is ``{"url": …, "events": [...]}``.

    ``idempotency_fingerprint`` is what ``begin_idempotent`` was given: a reservation that ended
    and was taken over by another request is then never bound to this job.
    """

    id: str
    tenant: str
    key_id: str
    model: str
    priority: Priority
    request: dict[str, Any]
    source: dict[str, Any]
    webhook: dict[str, Any] | None = None
    start_before_s: int | None = None
    idempotency_key: str | None = None
    idempotency_fingerprint: str | None = None

    @cached_property
    def spec(self) -> str:
        """What was asked for, JSON; written once, never changed.

        ``webhook`` comes last, where the scripts look for it first.
        """
        return to_json(
            {
                "key_id": self.key_id,
                "request": pack(self.request),
                "source": self.source,
                "webhook": self.webhook,
            }
        )


@dataclass(frozen=True, slots=True)
class Claim:
    """The right to work on ``job`` until the lease ends; ``token`` proves it at each step.

    ``suspect``: its last run may have crashed an engine, so it runs alone this time.
    """

    job: Job
    token: str
    suspect: bool = False


class Beat(StrEnum):
    """The store's answer to a worker that says it is alive."""

    GO_ON = "go-on"
    CANCEL = "cancel"
    FENCED = "fenced"


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a run ended. ``status`` is terminal; ``error`` is a problem (RFC 9457)."""

    status: Status
    result: dict[str, Any] | None = None
    error: dict[str, Any] | None = None
    warnings: tuple[str, ...] = ()
    timings_ms: dict[str, int] = field(default_factory=dict)

    @property
    def faces_restored(self) -> int:
        faces = (self.result or {}).get("faces", ())
        return sum(face.get("status") == "restored" for face in faces)


@dataclass(frozen=True, slots=True)
class Delivery:
    """One webhook to be sent now; ``attempt`` is 1 for the first try.

    All that go to one receiver (a tenant's scheme, host and port) have the same ``lane``.
    ``job_id`` is empty for an event that tells of no job. ``job`` is the one to tell of, if that is
    another than the record has now. ``disabled``: why nothing is sent to its endpoint.
    """

    id: str
    event_id: str
    job_id: str
    tenant: str
    url: str
    event: str
    attempt: int
    created_at: float
    token: str
    lane: str
    job: Job | None = None
    disabled: str | None = None


@dataclass(frozen=True, slots=True)
class DueJob:
    """A queued job whose doorbell should ring."""

    id: str
    model: str
    priority: Priority


@dataclass(frozen=True, slots=True)
class ServedModel:
    """A model that a live worker has loaded. ``ms_per_face`` is measured there, or unknown.

    ``task``: ``restore`` or ``colorize``.
    """

    name: str
    sha256: str
    size_px: int
    licence: str
    precision: str
    backend: str
    ms_per_face: float | None
    task: str = "restore"


def to_json(value: object) -> str:
    """Compact JSON; the scripts carry it without reading it."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def outcome_json(outcome: Outcome) -> str:
    """Only what is there: finished jobs are many and stay for days."""
    content = {
        "result": outcome.result and pack(outcome.result),
        "error": outcome.error,
        "warnings": list(outcome.warnings),
        "timings_ms": outcome.timings_ms,
    }
    return to_json({name: value for name, value in content.items() if value})


def progress_json(progress: Progress) -> str:
    """Write what ``to_job`` reads again; a background that is kept takes no room."""
    content = asdict(progress)
    if progress.enlarged is None:
        del content["enlarged"]
    return to_json(content)


def pairs(flat: list[str]) -> dict[str, str]:
    """HGETALL as a script returns it: names and values in turn."""
    return dict(zip(flat[::2], flat[1::2], strict=True))


def to_job(job_id: str, view: View, position: int | None = None) -> Job:
    """The record as everyone reads it; fields it does not know are ignored."""
    flat, spec_text, outcome_text = view
    spec = json.loads(spec_text)
    outcome = json.loads(outcome_text or "{}")
    request, source = unpack(spec["request"]), spec["source"]
    return _job(job_id, pairs(flat), request, source, outcome=outcome, position=position)


def to_new_job(new: NewJob, flat: list[str]) -> Job:
    """The record of a job that was just taken, from its small fields (HGETALL)."""
    return _job(new.id, pairs(flat), new.request, new.source, outcome={})


def _job(
    job_id: str,
    record: Mapping[str, str],
    request: dict[str, Any],
    source: dict[str, Any],
    *,
    outcome: Mapping[str, Any],
    position: int | None = None,
) -> Job:
    return Job(
        id=job_id,
        tenant=record["tenant"],
        status=Status(record["status"]),
        model=record["model"],
        priority=Priority(record["priority"]),
        request=request,
        source=source,
        created_at=float(record["created_at"]),
        started_at=_seconds(record, "started_at"),
        finished_at=_seconds(record, "finished_at"),
        expires_at=_seconds(record, "expires_at"),
        attempt=int(record.get("attempt", 0)),
        generation=int(record.get("generation", 1)),
        cancel_requested="cancel" in record,
        progress=_progress(record),
        result=unpack(outcome.get("result")),
        error=outcome.get("error"),
        warnings=tuple(outcome.get("warnings", ())),
        timings_ms=outcome.get("timings_ms", {}),
        queue_position=position,
        version=int(record["version"]),
    )


def to_claim(job_id: str, view: View, token: str) -> Claim:
    """A record that ``claim`` has just started."""
    return Claim(to_job(job_id, view), token, suspect="spent_crash" in pairs(view[0]))


def _seconds(record: Mapping[str, str], name: str) -> float | None:
    return float(record[name]) if name in record else None


def _progress(record: Mapping[str, str]) -> Progress | None:
    if "progress" not in record:
        return None
    content = json.loads(record["progress"])
    return Progress(
        Stage(content["stage"]),
        content["faces_done"],
        content["faces_total"],
        content.get("enlarged"),
    )
