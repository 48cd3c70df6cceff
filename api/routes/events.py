"""/v1/restorations/{id}/events: a job as it goes on, as server-sent events (WHATWG HTML, 9.2).

The id of an event is the version of the record, so ``Last-Event-ID`` resumes exactly: what did not
change meanwhile is not told again. A stream holds a thread; there is a bounded number of them, and
who finds none free gets the job as it is and comes again after ``retry``.
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
from api.context import Services, services
from api.openapi import problems
from api.routes.restorations import JobPath, check_id, tag
from shared import errors
from shared.contract.rendering import represent
from shared.errors import NotFound, Unavailable
from shared.jobs.job import Job

blueprint = APIBlueprint("events", __name__, url_prefix="/v1", abp_tags=[tag])

MEDIA_TYPE = "text/event-stream"
_COME_AGAIN_MS = 2_000
_VERSION = re.compile(r"\d{1,15}", re.ASCII)
#: One event; OpenAPI 3.1 has no word for a stream of them.
_EVENT: dict[str, Any] = {
    "title": "Event",
    "type": "object",
    "properties": {
        "id": {"type": "string", "description": "The job's version; for `Last-Event-ID`."},
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
            "description": "`status` and `progress` events, each with the job as it is then.",
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
                "description": "`id` of the last event that came; what follows it is sent.",
                "schema": {"type": "string"},
            }
        ]
    },
)
def events(path: JobPath) -> Response:
    """Follow a job by server-sent events until it has ended."""
    found = services()
    job = found.store.get(caller().tenant, check_id(path.job_id))
    given = request.headers.get("Last-Event-ID", "")
    seen = int(given) if _VERSION.fullmatch(given) else None
    if job.status.terminal and job.version == seen:
        return Response(status=204)  # tells an EventSource to come no more
    places = _Places(found)
    stream = follow(job, seen, found, stay=places.taken)
    response = Response(stream, content_type=MEDIA_TYPE)
    response.call_on_close(places.give_back)
    response.headers["Cache-Control"] = "no-store"
    response.headers["X-Accel-Buffering"] = "no"  # nginx would keep events until it has a page
    return response


@dataclass(frozen=True)
class Pace:
    """How a stream goes: looks every ``pause_s``, says something at least every ``heartbeat_s``.

    Proxies close what is silent, and only who says something finds out that nobody listens. Streams
    end after ``longest_s``, so that clients come to newer processes, too.
    """

    pause_s: float = 0.25
    heartbeat_s: float = 15.0
    longest_s: float = 600.0


_PACE = Pace()


class _Places:
    """What a stream holds while it lasts: a place of its kind, and one to wait."""

    def __init__(self, found: Services) -> None:
        self._held: list[BoundedSemaphore] = []
        wanted = (found.streaming_places, found.waiting_places)
        for places in wanted:
            if places.acquire(blocking=False):
                self._held.append(places)
        self.taken = len(self._held) == len(wanted)
        if not self.taken:
            self.give_back()

    def give_back(self) -> None:
        while self._held:
            self._held.pop().release()


@dataclass
class _Seen:
    """What the client has been told."""

    version: int | None
    status: str | None = None


def follow(
    job: Job, version: int | None, found: Services, *, stay: bool, pace: Pace = _PACE
) -> Iterator[str]:
    """What is new since ``version``, a heartbeat when nothing is, until the end of the job.

    Who may not ``stay`` gets what is there now.
    """
    seen = _Seen(version, job.status if version == job.version else None)
    ends_s = time.monotonic() + pace.longest_s
    yield f"retry: {_COME_AGAIN_MS}\n\n"
    quiet_since_s = time.monotonic()
    while True:
        if job.version != seen.version:
            yield _event(job, seen, found)
            quiet_since_s = time.monotonic()
        if job.status.terminal or not stay or time.monotonic() >= ends_s:
            return
        if time.monotonic() - quiet_since_s >= pace.heartbeat_s:
            yield ": still here\n\n"
            quiet_since_s = time.monotonic()
        if found.draining.wait(pace.pause_s):
            return
        try:
            with found.patience.fresh():
                job = found.store.get(job.tenant, job.id)
        except (NotFound, Unavailable):
            return  # the client comes again and hears why


def _event(job: Job, seen: _Seen, found: Services) -> str:
    name = "progress" if job.status == seen.status else "status"
    seen.version, seen.status = job.version, job.status
    data = represent(job, found.storage).model_dump_json()
    return f"id: {job.version}\nevent: {name}\ndata: {data}\n\n"
