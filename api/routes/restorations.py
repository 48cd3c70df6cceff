"""/v1/restorations: submit a photo, see its job, cancel it, run it again, erase it."""

from __future__ import annotations

import re
from typing import Any

from flask import Response, request
from flask_openapi3.blueprint import APIBlueprint
from flask_openapi3.models.tag import Tag
from pydantic import BaseModel, ConfigDict, Field
from pydantic.json_schema import SkipJsonSchema

from api.auth import caller
from api.context import current_services
from api.jobs.admission import retry_job
from api.jobs.erasure import erase
from api.jobs.submission import read
from api.openapi import REQUEST_BODY, SUBMIT_HEADERS, problems, returns
from api.routes.job_responses import (
    ACCEPTED,
    JobResponses,
    WaitQuery,
    json_response,
    reading,
    submitting,
)
from shared import errors
from shared.contract.rendering import represent
from shared.contract.restorations import Restoration, RestorationPage
from shared.errors import NotFound
from shared.jobs.job import Status

tag = Tag(name="restorations", description="Jobs. Each restores one photo.")
blueprint = APIBlueprint("restorations", __name__, url_prefix="/v1", abp_tags=[tag])

_JOB_ID = re.compile(r"job_[0-9a-f]{32}", re.ASCII)
#: Operations that accept the id of a new job.
_NEXT_OPERATIONS = ("get", "cancel", "retry", "erase", "deliveries")
_responses = JobResponses("/v1/restorations", represent)


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
    responses=submitting(Restoration, *_NEXT_OPERATIONS),
    openapi_extensions={"requestBody": REQUEST_BODY, "parameters": SUBMIT_HEADERS},
)
def submit() -> Response:
    """Restore the faces of a photo.

    The photo is a part of a multipart body, an upload (`input.upload_id`), an object in the storage
    (`input.key`) or a file on the web (`input.url`).
    """
    max_bytes = current_services().settings.max_input_bytes
    return _responses.submit(lambda: read(request, max_input_bytes=max_bytes))


@blueprint.get(
    "/restorations/<job_id>",
    operation_id="get",
    summary="One job",
    responses=reading(Restoration, "job"),
)
def get(path: JobPath, query: WaitQuery) -> Response:
    """One job, with new presigned URLs of its images."""
    return _responses.read(check_id(path.job_id), query.wait)


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
    return json_response(RestorationPage(data=data, next_cursor=next_cursor), 200)


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
    return _responses.show(job, 202)


@blueprint.post(
    "/restorations/<job_id>/retry",
    operation_id="retry",
    summary="Run a failed or cancelled job again",
    responses={
        **returns(Restoration, 202, headers=ACCEPTED),
        **problems(
            errors.NotFound,
            errors.Conflict,
            errors.InputNotFound,
            errors.InvalidRequest,
            errors.QueueFull,
        ),
    },
)
def retry(path: JobPath) -> Response:
    """Run a failed or cancelled job again with the same id, as if it were new."""
    return _responses.accepted(retry_job(caller(), check_id(path.job_id), current_services()))


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
