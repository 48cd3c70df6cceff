"""/v1/restorations: submit a photo, see its job, cancel it, run it again, erase it."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from flask import Response, g, request
from flask_openapi3.blueprint import APIBlueprint
from flask_openapi3.models.tag import Tag
from pydantic import BaseModel, ConfigDict, Field
from pydantic.json_schema import SkipJsonSchema

from api import request_log
from api.auth import caller
from api.context import current_services
from api.jobs.admission import Admission, admit, check_idempotency_key, retry_job
from api.jobs.erasure import erase
from api.jobs.long_poll import JobWait, preferred_wait_s, wait_for_end
from api.jobs.submission import JSON, read
from api.openapi import REQUEST_BODY, SUBMIT_HEADERS, linked, problems, returns
from shared import errors
from shared.contract.rendering import represent
from shared.contract.restorations import Resource, Restoration, RestorationPage
from shared.errors import NotFound
from shared.jobs.job import Job, Status

tag = Tag(name="restorations", description="Jobs. Each restores one photo.")
blueprint = APIBlueprint("restorations", __name__, url_prefix="/v1", abp_tags=[tag])

_JOB_ID = re.compile(r"job_[0-9a-f]{32}", re.ASCII)
_RETRY_AFTER_S = 1
_NONE: Mapping[str, str] = MappingProxyType({})
_ACCEPTED = {
    "Location": "Path of the job.",
    "Retry-After": "Seconds to wait before the next request for the job.",
}
_REPLAYED = {"Idempotent-Replayed": "`true`: an earlier request with this key made the job."}
_GRANTED = {"Preference-Applied": "The wait that was granted."}
#: Operations that accept the id of a new job.
_NEXT_OPERATIONS = ("get", "cancel", "retry", "erase", "deliveries")
_ETAG = {"ETag": "Changes with the response. Send it as If-None-Match."}


def no_default(schema: dict[str, Any]) -> None:
    """Remove defaults of null: a query string cannot contain null."""
    for described in schema["properties"].values():
        if "default" in described and described["default"] is None:
            del described["default"]


class JobPath(BaseModel):
    job_id: str = Field(description="`id` of the job.")


def check_id(job_id: str) -> str:
    """Return a well-formed id, which may be part of a Redis key. Raises NotFound otherwise."""
    if not _JOB_ID.fullmatch(job_id):
        raise NotFound
    return job_id


class WaitQuery(BaseModel):
    model_config = ConfigDict(extra="forbid")

    wait: int = Field(0, ge=0, le=60, description="Seconds to wait for the end of the job.")


class ListQuery(BaseModel):
    model_config = ConfigDict(extra="forbid", json_schema_extra=no_default)

    status: Status | SkipJsonSchema[None] = Field(None, description="Only jobs in this state.")
    model: str | SkipJsonSchema[None] = Field(
        None, max_length=64, description="Only jobs for this model."
    )
    limit: int = Field(20, ge=1, le=100, description="Jobs on one page.")
    cursor: str | SkipJsonSchema[None] = Field(
        None, max_length=512, description="`next_cursor` of the previous page."
    )


@blueprint.post(
    "/restorations",
    operation_id="submit",
    summary="Restore the faces of a photo",
    responses={
        **linked(
            returns(Restoration, 200, headers=_REPLAYED | _GRANTED),
            *_NEXT_OPERATIONS,
        ),
        **linked(
            returns(
                Restoration,
                202,
                headers=_ACCEPTED | _REPLAYED,
            ),
            *_NEXT_OPERATIONS,
        ),
        **problems(
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
        ),
    },
    openapi_extensions={"requestBody": REQUEST_BODY, "parameters": SUBMIT_HEADERS},
)
def submit() -> Response:
    """Restore the faces of a photo.

    The photo is a part of a multipart body, an upload (`input.upload_id`), an object in the storage
    (`input.key`) or a file on the web (`input.url`).
    """
    services = current_services()
    idempotency_key = check_idempotency_key(request.headers.get("Idempotency-Key"))
    waited = JobWait.after()
    admission: Admission
    if waited:
        admission = waited.kept
    else:
        submission = read(request, max_input_bytes=services.settings.max_input_bytes)
        admission = admit(
            submission,
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
    response = _respond(job, 200, _location(job)) if ended else _accepted(job)
    if wait_s is not None:
        response.headers["Preference-Applied"] = f"wait={min(wait_s, services.settings.max_wait_s)}"
    if admission.replayed:
        response.headers["Idempotent-Replayed"] = "true"
    return response


@blueprint.get(
    "/restorations/<job_id>",
    operation_id="get",
    summary="One job",
    responses={
        **returns(Restoration, 200, headers=_ETAG),
        304: {"description": "The job has not changed since that ETag."},
        **problems(errors.NotFound, errors.InvalidRequest),
    },
)
def get(path: JobPath, query: WaitQuery) -> Response:
    """One job, with new presigned URLs of its images."""
    services = current_services()
    job = services.store.get(caller().tenant, check_id(path.job_id))
    if wait := wait_for_end(job, query.wait, services):
        return wait
    response = _respond(job, 200)
    response.set_etag(_etag(job, services.settings.url_ttl_s), weak=True)
    response.make_conditional(request.environ)
    return response


@blueprint.get(
    "/restorations",
    operation_id="list",
    summary="Jobs, newest first",
    responses={**returns(RestorationPage, 200), **problems(errors.InvalidRequest)},
)
def list_(query: ListQuery) -> Response:
    """Jobs of the tenant of this API key, newest first."""
    services = current_services()
    jobs, next_cursor = services.store.page(
        caller().tenant,
        status=query.status,
        model=query.model,
        limit=query.limit,
        cursor=query.cursor,
    )
    data = [represent(job, services.storage) for job in jobs]
    return _json(RestorationPage(data=data, next_cursor=next_cursor), 200)


@blueprint.post(
    "/restorations/<job_id>/cancel",
    operation_id="cancel",
    summary="Cancel a job",
    responses={**returns(Restoration, 202), **problems(errors.NotFound, errors.Conflict)},
)
def cancel(path: JobPath) -> Response:
    """Cancel a job: a queued job at once, a running job at its next stage."""
    services = current_services()
    job = services.store.cancel(caller().tenant, check_id(path.job_id))
    if job.status.terminal:
        services.manifests.remove(job.tenant, job.id, job.generation)
    return _respond(job, 202)


@blueprint.post(
    "/restorations/<job_id>/retry",
    operation_id="retry",
    summary="Run a failed or cancelled job again",
    responses={
        **returns(Restoration, 202, headers=_ACCEPTED),
        **problems(errors.NotFound, errors.Conflict, errors.InputNotFound, errors.QueueFull),
    },
)
def retry(path: JobPath) -> Response:
    """Run a failed or cancelled job again with the same id, as if it were new."""
    return _accepted(retry_job(caller(), check_id(path.job_id), current_services()))


@blueprint.delete(
    "/restorations/<job_id>",
    operation_id="erase",
    summary="Erase a job and its images",
    responses={204: {"description": "The job is erased."}, **problems(errors.NotFound)},
)
def delete(path: JobPath) -> Response:
    """Erase a job in any state: its record, its photo if it was uploaded, and its results.

    Your own objects (`input.key`, `output.key`) are kept.
    """
    erase(caller().tenant, check_id(path.job_id), current_services())
    return Response(status=204)


def _accepted(job: Job) -> Response:
    return _respond(job, 202, {**_location(job), "Retry-After": str(_RETRY_AFTER_S)})


def _location(job: Job) -> dict[str, str]:
    return {"Location": f"{request.script_root}/v1/restorations/{job.id}"}


def _etag(job: Job, url_ttl_s: int) -> str:
    """Return a value that changes with the record, and twice in the life of a presigned URL.

    So after a 304, the URLs of the client are valid for at least half of their life.
    """
    parts: list[Any] = [job.version, job.queue_position, job.queue_eta_s, job.queue_eta_reason]
    if job.result is not None:
        parts.append(int(time.time() // (url_ttl_s / 2)))
    return ".".join("" if part is None else str(part) for part in parts)


def _respond(job: Job, status: int, headers: Mapping[str, str] = _NONE) -> Response:
    return _json(represent(job, current_services().storage), status, headers)


def _json(resource: Resource, status: int, headers: Mapping[str, str] = _NONE) -> Response:
    # All headers at once: setting them one by one costs a search for each.
    headers = {"Content-Type": JSON, "Cache-Control": "private, no-cache", **headers}
    return Response(resource.model_dump_json(), status, headers)
