"""A job as Redis stores it: what goes into a record, and how a record becomes a Job again."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import Any

from shared.jobs.compression import pack, unpack
from shared.jobs.job import Job, Kind, Priority, Progress, Stage, Status
from shared.jobs.pools import DEFAULT_POOL

#: A record as the scripts return it: the small fields (HGETALL), spec, and outcome if it ended.
View = tuple[list[str], str, str | None]


@dataclass(frozen=True)
class NewJob:
    """A job to be created. ``webhook`` is ``{"url": …, "events": [...]}``.

    ``idempotency_fingerprint`` is the one that ``Idempotency.begin`` got. With it, a reservation
    that has ended and now belongs to another request is never bound to this job. ``request_id`` is
    that of the HTTP request, for the log lines of every process that has the job. ``token_id``: the
    token (a short-lived API key) that creates the job, if one does. ``batch``: the id of its batch.
    ``trace``: the step of the HTTP request in its trace, a W3C traceparent.
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
    request_id: str = ""
    trace: str = ""
    token_id: str | None = None
    kind: Kind = Kind.RESTORATION
    batch: str | None = None
    pool: str = DEFAULT_POOL

    @cached_property
    def spec(self) -> str:
        """The request as JSON. It is written once and never changes.

        ``webhook`` comes last, because the scripts look for it there.
        """
        return to_json(
            {
                "key_id": self.key_id,
                "request": pack(self.request),
                "source": self.source,
                **({"request_id": self.request_id} if self.request_id else {}),
                **({"batch": self.batch} if self.batch else {}),
                **({"trace": self.trace} if self.trace else {}),
                "webhook": self.webhook,
            }
        )


#: Entries of ``timings_ms`` that are no work in a place of a device.
_NO_PLACE = frozenset({"queue", "fetch", "total"})


@dataclass(frozen=True, slots=True)
class Origin:
    """The HTTP request that created a job: its id, and its step in a trace, each may be empty."""

    request_id: str
    trace: str


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a run ended. ``status`` is terminal, ``error`` is a problem (RFC 9457).

    ``cached``: the result is a copy of that of an equal job.
    """

    status: Status
    result: dict[str, Any] | None = None
    error: dict[str, Any] | None = None
    warnings: tuple[str, ...] = ()
    timings_ms: dict[str, int] = field(default_factory=dict)
    cached: bool = False

    @property
    def faces_restored(self) -> int:
        faces = (self.result or {}).get("faces", ())
        return sum(face.get("status") == "restored" for face in faces)

    @property
    def busy_ms(self) -> int:
        """How long the run had a place of a device. A photo may be fetched before it has one."""
        return sum(ms for stage, ms in self.timings_ms.items() if stage not in _NO_PLACE)


def to_json(value: object) -> str:
    """Return compact JSON."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def outcome_json(outcome: Outcome) -> str:
    """Return the outcome as JSON, without empty fields: there are many finished jobs."""
    content = {
        "result": outcome.result and pack(outcome.result),
        "error": outcome.error,
        "warnings": list(outcome.warnings),
        "timings_ms": outcome.timings_ms,
        "cached": outcome.cached,
    }
    return to_json({name: value for name, value in content.items() if value})


def progress_json(progress: Progress) -> str:
    """Return progress as JSON, as ``to_job`` reads it; without ``enlarged`` if that is None."""
    content = asdict(progress)
    if progress.enlarged is None:
        del content["enlarged"]
    return to_json(content)


def pairs(flat: list[str]) -> dict[str, str]:
    """Return what HGETALL in a script returned (names and values in turn) as a dictionary."""
    return dict(zip(flat[::2], flat[1::2], strict=True))


def to_job(job_id: str, view: View) -> Job:
    """Return the job of a record; ignore unknown fields."""
    flat, spec_text, outcome_text = view
    spec = json.loads(spec_text)
    outcome = json.loads(outcome_text or "{}")
    request, source = unpack(spec["request"]), spec["source"]
    origin = Origin(spec.get("request_id", ""), spec.get("trace", ""))
    return _job(job_id, pairs(flat), request, source, outcome=outcome, origin=origin)


def key_id_of(view: View) -> str:
    """Return the id of the API key that created the job."""
    return str(json.loads(view[1])["key_id"])


def as_new(job: Job, key_id: str) -> NewJob:
    """Return a job as it was requested by the owner of the key, for another manifest."""
    return NewJob(
        id=job.id,
        tenant=job.tenant,
        key_id=key_id,
        model=job.model,
        priority=job.priority,
        request=job.request,
        source=job.source,
        webhook=job.request.get("webhook"),
        start_before_s=job.request.get("start_before_s"),
        request_id=job.request_id,
        trace=job.trace,
        kind=job.kind,
        batch=job.batch,
        pool=job.pool,
    )


def to_new_job(new: NewJob, flat: list[str]) -> Job:
    """Return a job that was just created, from its small fields (HGETALL)."""
    origin = Origin(new.request_id, new.trace)
    return _job(new.id, pairs(flat), new.request, new.source, outcome={}, origin=origin)


def _job(
    job_id: str,
    record: Mapping[str, str],
    request: dict[str, Any],
    source: dict[str, Any],
    *,
    outcome: Mapping[str, Any],
    origin: Origin,
) -> Job:
    status = Status(record["status"])
    timings_ms = outcome.get("timings_ms", {})
    if status in {Status.FAILED, Status.CANCELED}:
        timings_ms = _times_ms(record) | timings_ms
    return Job(
        id=job_id,
        tenant=record["tenant"],
        status=status,
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
        progress=to_progress(record.get("progress")),
        result=unpack(outcome.get("result")),
        error=outcome.get("error"),
        warnings=tuple(outcome.get("warnings", ())),
        timings_ms=timings_ms,
        cached=outcome.get("cached", False),
        version=int(record["version"]),
        request_id=origin.request_id,
        trace=origin.trace,
        kind=Kind(record.get("kind", Kind.RESTORATION)),
        batch=record.get("batch"),
        pool=record.get("pool", DEFAULT_POOL),
    )


def _times_ms(record: Mapping[str, str]) -> dict[str, int]:
    """Return what the record itself shows of the times of a job that ended without a result."""
    since = float(record.get("retried_at") or record["created_at"])
    ended = float(record["finished_at"])
    started = float(record.get("started_at") or ended)
    return {"queue": round(1000 * (started - since)), "total": round(1000 * (ended - since))}


def _seconds(record: Mapping[str, str], name: str) -> float | None:
    return float(record[name]) if name in record else None


def to_progress(text: str | None) -> Progress | None:
    """Return what ``progress_json`` wrote; None for nothing."""
    if not text:
        return None
    content = json.loads(text)
    return Progress(
        Stage(content["stage"]),
        content["faces_done"],
        content["faces_total"],
        content.get("enlarged"),
    )
