"""/v1/restorations: submit a photo, see its job, cancel it, run it again, erase it."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from flask import Response, request
from flask_openapi3.blueprint import APIBlueprint
from flask_openapi3.models.tag import Tag
from pydantic import BaseModel, ConfigDict, Field
from pydantic.json_schema import SkipJsonSchema

from api import request_log as journal
from api.auth import caller
from api.context import services
from api.examples import REQUEST_BODY, SUBMIT_HEADERS
from api.jobs.admission import admit, again, check_idempotency_key
from api.jobs.erasure import erase
from api.jobs.long_poll import preferred_wait_s, wait_until_terminal
from api.jobs.submission import JSON, read
from api.openapi import answers, linked, problems
from shared import errors
from shared.contract.rendering import represent
from shared.contract.restorations import Resource, Restoration, RestorationPage
from shared.errors import NotFound
from shared.jobs.job import Job, Status

tag = Tag(name="restorations", description="Jobs: one photo each.")
blueprint = APIBlueprint("restorations", __name__, url_prefix="/v1", abp_tags=[tag])

_JOB_ID = re.compile(r"job_[0-9a-f]{32}", re.ASCII)
_RETRY_AFTER_S = 1
_NONE: Mapping[str, str] = MappingProxyType({})
_ACCEPTED = {
    "Location": "Path of the job.",
    "Retry-After": "Seconds to wait before asking for the job.",
}
#: What may be done with a job that was made.
_GO_ON = ("get", "cancel", "retry", "erase", "deliveries")
_ETAG = {"ETag": "Changes whenever the answer does; send it as If-None-Match."}


def no_default(schema: dict[str, Any]) -> None:
    """Null is no value of a query string: what may be left out has no default there."""
    for described in schema["properties"].values():
        if "default" in described and described["default"] is None:
            del described["default"]


class JobPath(BaseModel):
    job_id: str = Field(description="`id` of the job.")


def check_id(job_id: str) -> str:
    """Refuse what can be no id before it becomes part of a key. Raises NotFound, like a miss."""
    if not _JOB_ID.fullmatch(job_id):
        raise NotFound
    return job_id


class WaitQuery(BaseModel):
    model_config = ConfigDict(extra="forbid")

    wait: int = Field(
        0, ge=0, le=60, description="Seconds to wait for the end of the job before answering."
    )


class ListQuery(BaseModel):
    model_config = ConfigDict(extra="forbid", json_schema_extra=no_default)

    status: Status | SkipJsonSchema[None] = Field(None, description="Only jobs in this state.")
    model: str | SkipJsonSchema[None] = Field(
        None, max_length=64, description="Only jobs for this model."
    )
    limit: int = Field(20, ge=1, le=100, description="Jobs on one page.")
    cursor: str | SkipJsonSchema[None] = Field(
        None, max_length=512, description="`next_cursor` of the page before."
    )


@blueprint.post(
    "/restorations",
    operation_id="submit",
    summary="Restore the faces of a photo",
    responses={
        **linked(
            answers(Restoration, 200, headers={"Preference-Applied": "The wait that was granted."}),
            *_GO_ON,
        ),
        **linked(
            answers(
                Restoration,
                202,
                headers=_ACCEPTED
                | {"Idempotent-Replayed": "`true`: an earlier request with this key made the job."},
            ),
            *_GO_ON,
        ),
        **problems(
            errors.MalformedRequest,
            errors.NotFound,
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

    The photo comes as a part of a multipart body, or lies in the object storage (`input.key`) or on
    the web (`input.url`).
    """
    found = services()
    idempotency_key = check_idempotency_key(request.headers.get("Idempotency-Key"))
    submission = read(request, max_input_bytes=found.settings.max_input_bytes)
    admission = admit(submission, caller=caller(), idempotency_key=idempotency_key, services=found)
    journal.about(admission.job.id)
    wait_s = preferred_wait_s(request.headers.get("Prefer", ""))
    job = wait_until_terminal(admission.job, wait_s or 0, found)
    ended = wait_s and job.status.terminal
    response = _answer(job, 200, _place(job)) if ended else _accepted(job)
    if wait_s is not None:
        response.headers["Preference-Applied"] = f"wait={min(wait_s, found.settings.max_wait_s)}"
    if admission.replayed:
        response.headers["Idempotent-Replayed"] = "true"
    return response


@blueprint.get(
    "/restorations/<job_id>",
    operation_id="get",
    summary="One job",
    responses={
        **answers(Restoration, 200, headers=_ETAG),
        304: {"description": "Nothing has changed since that ETag."},
        **problems(errors.NotFound, errors.InvalidRequest),
    },
)
def get(path: JobPath, query: WaitQuery) -> Response:
    """One job, with fresh addresses for its pictures."""
    found = services()
    job = found.store.get(caller().tenant, check_id(path.job_id))
    job = wait_until_terminal(job, query.wait, found)
    response = _answer(job, 200)
    response.set_etag(_etag(job, found.settings.url_ttl_s), weak=True)
    response.make_conditional(request.environ)
    return response


@blueprint.get(
    "/restorations",
    operation_id="list",
    summary="Jobs, newest first",
    responses={**answers(RestorationPage, 200), **problems(errors.InvalidRequest)},
)
def list_(query: ListQuery) -> Response:
    """Jobs of this key's tenant, newest first."""
    found = services()
    jobs, next_cursor = found.store.list(
        caller().tenant,
        status=query.status,
        model=query.model,
        limit=query.limit,
        cursor=query.cursor,
    )
    data = [represent(job, found.storage) for job in jobs]
    return _json(RestorationPage(data=data, next_cursor=next_cursor), 200)


@blueprint.post(
    "/restorations/<job_id>/cancel",
    operation_id="cancel",
    summary="Cancel a job",
    responses={**answers(Restoration, 202), **problems(errors.NotFound, errors.Conflict)},
)
def cancel(path: JobPath) -> Response:
    """Cancel a job: a queued one at once, a running one at its next stage."""
    found = services()
    job = found.store.cancel(caller().tenant, check_id(path.job_id))
    if job.status.terminal:
        found.manifests.remove(job.tenant, job.id, job.generation)
    return _answer(job, 202)


@blueprint.post(
    "/restorations/<job_id>/retry",
    operation_id="retry",
    summary="Run a failed or cancelled job again",
    responses={
        **answers(Restoration, 202, headers=_ACCEPTED),
        **problems(errors.NotFound, errors.Conflict, errors.InputNotFound, errors.QueueFull),
    },
)
def retry(path: JobPath) -> Response:
    """Run a failed or cancelled job again under its id, as if it had just been submitted."""
    return _accepted(again(caller(), check_id(path.job_id), services()))


@blueprint.delete(
    "/restorations/<job_id>",
    operation_id="erase",
    summary="Erase a job and its pictures",
    responses={204: {"description": "There is nothing left of it."}, **problems(errors.NotFound)},
)
def delete(path: JobPath) -> Response:
    """Erase a job in any state: its record, its photo if it was uploaded, and its results.

    Objects of your own (`input.key`, `output.key`) stay where they are.
    """
    erase(caller().tenant, check_id(path.job_id), services())
    return Response(status=204)


def _accepted(job: Job) -> Response:
    return _answer(job, 202, {**_place(job), "Retry-After": str(_RETRY_AFTER_S)})


def _place(job: Job) -> dict[str, str]:
    return {"Location": f"/v1/restorations/{job.id}"}


def _etag(job: Job, url_ttl_s: int) -> str:
    """Grows with the record, and twice in the life of a presigned address.

    So a client that is told 304 still has addresses with half their life ahead.
    """
    parts: list[Any] = [job.version, job.queue_position]
    if job.result is not None:
        parts.append(int(time.time() // (url_ttl_s / 2)))
    return ".".join("" if part is None else str(part) for part in parts)


def _answer(job: Job, status: int, headers: Mapping[str, str] = _NONE) -> Response:
    return _json(represent(job, services().storage), status, headers)


def _json(resource: Resource, status: int, headers: Mapping[str, str] = _NONE) -> Response:
    # All at once: each header that is set by itself is looked for among the others.
    headers = {"Content-Type": JSON, "Cache-Control": "private, no-cache", **headers}
    return Response(resource.model_dump_json(), status, headers)
