"""/v1/restorations/{id}/events: the changes of a job as server-sent events (WHATWG HTML, 9.2).

The id of an event is the version of the record, so ``Last-Event-ID`` resumes without repetition.
The number of streams is limited. A client above the limit receives the job as it is, and connects
again after ``retry``.
"""

from __future__ import annotations

import re
from typing import Any

from flask import Response, request
from flask_openapi3.blueprint import APIBlueprint

from api.auth import caller
from api.context import current_services
from api.jobs.event_stream import EventStream
from api.openapi import problems
from api.routes.restorations import JobPath, check_id, tag
from shared import errors

blueprint = APIBlueprint("events", __name__, url_prefix="/v1", abp_tags=[tag])

MEDIA_TYPE = "text/event-stream"
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
    stay = services.streaming_slots.acquire(job.tenant)
    stream: Any = EventStream(job, seen, services, stay=stay)
    response = Response(stream, content_type=MEDIA_TYPE, direct_passthrough=True)
    response.headers["Cache-Control"] = "no-store"
    response.headers["X-Accel-Buffering"] = "no"  # nginx would buffer events
    return response
