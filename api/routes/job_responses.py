"""Responses about jobs: accepted, finished, unchanged. For every kind of job."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from flask import Response, g, request
from pydantic import BaseModel, ConfigDict, Field

from api import request_log
from api.auth import caller
from api.context import current_services
from api.jobs.admission import Admission, admit, check_idempotency_key
from api.jobs.long_poll import JobWait, preferred_wait_s, wait_for_end
from api.jobs.submission import JSON, Submission
from api.openapi import Responses, linked, problems, returns
from shared import errors
from shared.contract.restorations import Resource
from shared.jobs.job import Job
from shared.storage.bucket import Storage

_RETRY_AFTER_S = 1
_NONE: Mapping[str, str] = MappingProxyType({})

# Descriptions of headers, for the OpenAPI document.
ACCEPTED = {
    "Location": "Path of the job.",
    "Retry-After": "Seconds to wait before the next request for the job.",
}
REPLAYED = {"Idempotent-Replayed": "`true`: an earlier request with this key made the job."}
GRANTED = {"Preference-Applied": "The wait that was granted."}
ETAG = {"ETag": "Changes with the response. Send it as If-None-Match."}
#: Problems of a request that submits a photo.
SUBMISSION_PROBLEMS: tuple[type[errors.FacemendError], ...] = (
    errors.MalformedRequest,
    errors.NotFound,
    errors.Conflict,
    errors.IdempotencyInProgress,
    errors.PayloadTooLarge,
    errors.UnsupportedMediaType,
    errors.InvalidRequest,
    errors.IdempotencyMismatch,
    errors.InputNotFound,
    errors.InputForbidden,
    errors.InputTooLarge,
    errors.UnsupportedImage,
    errors.ImageTooManyPixels,
    errors.QueueFull,
)


def submitting(resource: type[Resource], *operations: str, parameter: str = "job_id") -> Responses:
    """Describe the responses of a submission; ``operations`` accept the id of the new job."""
    described = {
        **returns(resource, 200, headers=REPLAYED | GRANTED),
        **returns(resource, 202, headers=ACCEPTED | REPLAYED),
    }
    return {
        **linked(described, *operations, parameter=parameter),
        **problems(*SUBMISSION_PROBLEMS),
    }


def reading(resource: type[Resource], kind: str) -> Responses:
    """Describe the responses of a request for one job."""
    return {
        **returns(resource, 200, headers=ETAG),
        304: {"description": f"The {kind} has not changed since that ETag."},
        **problems(errors.NotFound, errors.InvalidRequest),
    }


class WaitQuery(BaseModel):
    model_config = ConfigDict(extra="forbid")

    wait: int = Field(0, ge=0, le=60, description="Seconds to wait for the end of the job.")


@dataclass(frozen=True, slots=True)
class JobResponses:
    """The responses about one kind of jobs. ``path``: of its collection, such as /v1/detections."""

    path: str
    represent: Callable[[Job, Storage], Resource]

    def submit(self, read: Callable[[], Submission]) -> Response:
        """Accept the job that ``read`` reads from the request, and wait for it if requested."""
        services = current_services()
        idempotency_key = check_idempotency_key(request.headers.get("Idempotency-Key"))
        waited = JobWait.after()
        admission: Admission
        if waited:
            admission = waited.kept
        else:
            admission = admit(
                read(),
                caller=caller(),
                idempotency_key=idempotency_key,
                services=services,
                wait_s=preferred_wait_s(request.headers.get("Prefer", "")),
                request_id=g.request_id,
            )
        job, wait_s = admission.job, admission.wait_s
        request_log.set_log_job(job.id)
        if wait := wait_for_end(job, wait_s or 0, services, kept=admission):
            return wait
        if waited:
            job = services.store.get(job.tenant, job.id)
        ended = wait_s and job.status.terminal
        response = self.show(job, 200, self._location(job)) if ended else self.accepted(job)
        if wait_s is not None:
            granted_s = min(wait_s, services.settings.max_wait_s)
            response.headers["Preference-Applied"] = f"wait={granted_s}"
        if admission.replayed:
            response.headers["Idempotent-Replayed"] = "true"
        return response

    def read(self, job_id: str, wait_s: int) -> Response:
        """Show a job of the caller, after its end or ``wait_s`` seconds. Raises NotFound."""
        services = current_services()
        job = services.store.get(caller().tenant, job_id)
        if wait := wait_for_end(job, wait_s, services):
            return wait
        response = self.show(job, 200)
        response.set_etag(_etag(job, services.settings.url_ttl_s), weak=True)
        response.make_conditional(request.environ)
        return response

    def accepted(self, job: Job) -> Response:
        """Show a job that will run."""
        return self.show(job, 202, {**self._location(job), "Retry-After": str(_RETRY_AFTER_S)})

    def show(self, job: Job, status: int, headers: Mapping[str, str] = _NONE) -> Response:
        """Show a job as it is now."""
        return json_response(self.represent(job, current_services().storage), status, headers)

    def _location(self, job: Job) -> dict[str, str]:
        return {"Location": f"{request.script_root}{self.path}/{job.id}"}


def json_response(resource: Resource, status: int, headers: Mapping[str, str] = _NONE) -> Response:
    """Return a response with ``resource``, which only the caller may keep."""
    # All headers at once: setting them one by one costs a search for each.
    headers = {"Content-Type": JSON, "Cache-Control": "private, no-cache", **headers}
    return Response(resource.model_dump_json(), status, headers)


def _etag(job: Job, url_ttl_s: int) -> str:
    """Return a value that changes with the record, and twice in the life of a presigned URL.

    So after a 304, the URLs of the client are valid for at least half of their life.
    """
    parts: list[Any] = [job.version, job.queue_position, job.queue_eta_s, job.queue_eta_reason]
    if job.result is not None:
        parts.append(int(time.time() // (url_ttl_s / 2)))
    return ".".join("" if part is None else str(part) for part in parts)
