"""/v1/restorations/{id}/events: the changes of a job as server-sent events (WHATWG HTML, 9.2).

The id of an event is the version of the record, so ``Last-Event-ID`` resumes without repetition.
Each stream holds a thread, and the number of streams is limited. A client above the limit receives
the job as it is, and connects again after ``retry``.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from threading import BoundedSemaphore
from typing import Any

from flask import Response, request
from flask_openapi3.blueprint import APIBlueprint

from api.auth import caller
from api.context import Services, current_services
from api.openapi import problems
from api.routes.restorations import JobPath, check_id, tag
from shared import errors
from shared.contract.rendering import represent
from shared.errors import NotFound, Unavailable
from shared.jobs.job import Job

blueprint = APIBlueprint("events", __name__, url_prefix="/v1", abp_tags=[tag])

MEDIA_TYPE = "text/event-stream"
_RETRY_MS = 2_000
_VERSION = re.compile(r"\d{1,15}", re.ASCII)
#: One event. OpenAPI 3.1 cannot describe a stream of events.
_EVENT: dict[str, Any] = {
    "title": "Event",
    "type": "object",
    "properties": {
        "id": {"type": "string", "description": "The version of the job, for `Last-Event-ID`."},
        "event": {"enum": ["status", "progress"]},
        "data": {
            "type": "string",
            "contentMediaType": "application/json",
            "contentSchema": {"$ref": "#/components/schemas/Restoration"},
        },
    },
}
_EXAMPLE = """\
retry: 2000

id: 4
event: progress
data: {"id": "job_…", "status": "running", "progress": {"stage": "restoring", …}, …}

"""


@blueprint.get(
    "/restorations/<job_id>/events",
    operation_id="events",
    summary="Follow a job",
    responses={
        200: {
            "description": "`status` and `progress` events, each with the job at that time.",
            "content": {MEDIA_TYPE: {"schema": _EVENT, "example": _EXAMPLE}},
        },
        204: {"description": "The job has ended, and `Last-Event-ID` was its last event."},
        **problems(errors.NotFound),
    },
    openapi_extensions={
        "parameters": [
            {
                "name": "Last-Event-ID",
                "in": "header",
                "description": "`id` of the last event received. The stream continues after it.",
                "schema": {"type": "string"},
            }
        ]
    },
)
def events(path: JobPath) -> Response:
    """Follow a job by server-sent events until it has ended."""
    services = current_services()
    job = services.store.get(caller().tenant, check_id(path.job_id))
    given = request.headers.get("Last-Event-ID", "")
    seen = int(given) if _VERSION.fullmatch(given) else None
    if job.status.terminal and job.version == seen:
        return Response(status=204)  # an EventSource does not connect again after this
    slots = _Slots(services)
    stream = follow(job, seen, services, stay=slots.taken)
    response = Response(stream, content_type=MEDIA_TYPE)
    response.call_on_close(slots.release)
    response.headers["Cache-Control"] = "no-store"
    response.headers["X-Accel-Buffering"] = "no"  # nginx would buffer events
    return response


@dataclass(frozen=True)
class Pace:
    """How often a stream reads the record (``pause_s``), and sends at least a heartbeat.

    Proxies close silent connections, and only a write detects that the client is gone. A stream
    ends after ``longest_s``, so that clients connect to newer processes, too.
    """

    pause_s: float = 0.25
    heartbeat_s: float = 15.0
    longest_s: float = 600.0


_PACE = Pace()


class _Slots:
    """The slots that a stream holds: one for streaming and one for waiting."""

    def __init__(self, services: Services) -> None:
        self._held: list[BoundedSemaphore] = []
        wanted = (services.streaming_slots, services.waiting_slots)
        for slots in wanted:
            if slots.acquire(blocking=False):
                self._held.append(slots)
        self.taken = len(self._held) == len(wanted)
        if not self.taken:
            self.release()

    def release(self) -> None:
        while self._held:
            self._held.pop().release()


@dataclass
class _Seen:
    """What the client has received."""

    version: int | None
    status: str | None = None


def follow(
    job: Job, version: int | None, services: Services, *, stay: bool, pace: Pace = _PACE
) -> Iterator[str]:
    """Yield the changes since ``version`` until the end of the job, and heartbeats in between.

    Without ``stay``, yield the current state only.
    """
    seen = _Seen(version, job.status if version == job.version else None)
    ends_s = time.monotonic() + pace.longest_s
    yield f"retry: {_RETRY_MS}\n\n"
    quiet_since_s = time.monotonic()
    while True:
        if job.version != seen.version:
            yield _event(job, seen, services)
            quiet_since_s = time.monotonic()
        if job.status.terminal or not stay or time.monotonic() >= ends_s:
            return
        if time.monotonic() - quiet_since_s >= pace.heartbeat_s:
            yield ": heartbeat\n\n"
            quiet_since_s = time.monotonic()
        if services.draining.wait(pace.pause_s):
            return
        try:
            with services.deadline.start():
                job = services.store.get(job.tenant, job.id)
        except (NotFound, Unavailable):
            return  # the client connects again and receives the error


def _event(job: Job, seen: _Seen, services: Services) -> str:
    name = "progress" if job.status == seen.status else "status"
    seen.version, seen.status = job.version, job.status
    data = represent(job, services.storage).model_dump_json()
    return f"id: {job.version}\nevent: {name}\ndata: {data}\n\n"
