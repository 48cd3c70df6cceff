"""/v1/batches: many photos in one request, with one summary and one webhook."""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType

from flask import Response, g, request
from flask_openapi3.blueprint import APIBlueprint
from flask_openapi3.models.tag import Tag
from pydantic import BaseModel, ConfigDict, Field
from pydantic.json_schema import SkipJsonSchema

from api.auth import caller
from api.context import current_services
from api.jobs.admission import check_idempotency_key
from api.jobs.batch_admission import MAX_BATCH_BYTES, admit_batch
from api.jobs.erasure import erase_batch
from api.jobs.submission import read_document
from api.openapi import BATCH_BODY, IDEMPOTENCY_HEADER, problems, returns
from api.routes.restorations import no_default
from shared import errors
from shared.contract.batch_rendering import represent_batch, represent_item
from shared.contract.batches import Batch, BatchItemPage, BatchRequest
from shared.contract.restorations import Resource
from shared.errors import InvalidRequest, NotFound
from shared.jobs.cursor import decode, encode

blueprint = APIBlueprint(
    "batches",
    __name__,
    url_prefix="/v1",
    abp_tags=[Tag(name="batches", description="Many photos in one request.")],
)

_BATCH_ID = re.compile(r"bat_[0-9a-f]{32}", re.ASCII)
_NONE: Mapping[str, str] = MappingProxyType({})
_RETRY_AFTER_S = 5


class BatchPath(BaseModel):
    batch_id: str = Field(description="`id` of the batch.")


class ItemsQuery(BaseModel):
    model_config = ConfigDict(extra="forbid", json_schema_extra=no_default)

    limit: int = Field(20, ge=1, le=100, description="Items on one page.")
    cursor: str | SkipJsonSchema[None] = Field(
        None, max_length=512, description="`next_cursor` of the previous page."
    )


@blueprint.post(
    "/batches",
    operation_id="create_batch",
    summary="Restore the faces of many photos",
    responses={
        **returns(
            Batch,
            202,
            headers={
                "Location": "Path of the batch.",
                "Retry-After": "Seconds to wait before the next request for the batch.",
                "Idempotent-Replayed": "`true`: an earlier request with this key made the batch.",
            },
        ),
        **problems(
            errors.MalformedRequest,
            errors.NotFound,
            errors.IdempotencyInProgress,
            errors.PayloadTooLarge,
            errors.UnsupportedMediaType,
            errors.InvalidRequest,
            errors.IdempotencyMismatch,
            errors.QueueFull,
        ),
    },
    openapi_extensions={"requestBody": BATCH_BODY, "parameters": [IDEMPOTENCY_HEADER]},
)
def create() -> Response:
    """Restore the faces of up to 1,000 photos. Each item becomes an ordinary job.

    Items are checked one by one: a wrong item is rejected, and the others run.
    """
    services = current_services()
    idempotency_key = check_idempotency_key(request.headers.get("Idempotency-Key"))
    wanted = read_document(request, BatchRequest, max_bytes=MAX_BATCH_BYTES)
    admission = admit_batch(
        wanted,
        caller=caller(),
        idempotency_key=idempotency_key,
        services=services,
        request_id=g.request_id,
    )
    batch = represent_batch(admission.batch, services.storage)
    headers = {
        "Location": f"{request.script_root}/v1/batches/{batch.id}",
        "Retry-After": str(_RETRY_AFTER_S),
    }
    if admission.replayed:
        headers["Idempotent-Replayed"] = "true"
    return _json(batch, 202, headers)


@blueprint.get(
    "/batches/<batch_id>",
    operation_id="get_batch",
    summary="One batch",
    responses={**returns(Batch, 200), **problems(errors.NotFound)},
)
def get(path: BatchPath) -> Response:
    """One batch: how many items are in each state, an estimate of its end, and its results."""
    services = current_services()
    batch = services.batches.get(caller().tenant, _check_id(path.batch_id))
    return _json(represent_batch(batch, services.storage), 200)


@blueprint.get(
    "/batches/<batch_id>/items",
    operation_id="batch_items",
    summary="Items of a batch",
    responses={
        **returns(BatchItemPage, 200),
        **problems(errors.NotFound, errors.InvalidRequest),
    },
)
def items(path: BatchPath, query: ItemsQuery) -> Response:
    """Items of a batch, in the order of the request, with their jobs or their errors."""
    services, tenant = current_services(), caller().tenant
    batch = services.batches.get(tenant, _check_id(path.batch_id))
    start = _start(query.cursor, batch.id)
    found = services.batches.items(tenant, batch.id, start, query.limit)
    behind = start + len(found)
    page = BatchItemPage(
        data=[represent_item(item, batch, services.storage) for item in found],
        next_cursor=encode(str(behind), batch.id) if found and behind < batch.total else None,
    )
    return _json(page, 200)


@blueprint.post(
    "/batches/<batch_id>/cancel",
    operation_id="cancel_batch",
    summary="Cancel a batch",
    responses={**returns(Batch, 202), **problems(errors.NotFound, errors.Conflict)},
)
def cancel(path: BatchPath) -> Response:
    """Cancel all jobs of a batch that have not ended, as the jobs themselves are canceled."""
    services = current_services()
    batch = services.batches.cancel(caller().tenant, _check_id(path.batch_id))
    return _json(represent_batch(batch, services.storage), 202)


@blueprint.delete(
    "/batches/<batch_id>",
    operation_id="erase_batch",
    summary="Erase a batch, its jobs and their images",
    responses={204: {"description": "The batch is erased."}, **problems(errors.NotFound)},
)
def delete(path: BatchPath) -> Response:
    """Erase a batch in any state, with all its jobs, as the jobs themselves are erased.

    From now on nothing of it is found. The notifier deletes its objects within about a minute.
    """
    erase_batch(caller().tenant, _check_id(path.batch_id), current_services())
    return Response(status=204)


def _check_id(batch_id: str) -> str:
    """Return a well-formed id, which may be part of a Redis key. Raises NotFound otherwise."""
    if not _BATCH_ID.fullmatch(batch_id):
        raise NotFound
    return batch_id


def _start(cursor: str | None, batch_id: str) -> int:
    """Return the index of the first item. Raises InvalidRequest for an unknown cursor."""
    if cursor is None:
        return 0
    index, belongs_to = decode(cursor)
    if belongs_to != batch_id or not index.isdecimal():
        raise InvalidRequest("The cursor is unknown", [("/cursor", "unknown cursor")])
    return int(index)


def _json(resource: Resource, status: int, headers: Mapping[str, str] = _NONE) -> Response:
    headers = {"Content-Type": "application/json", "Cache-Control": "private, no-store", **headers}
    return Response(resource.model_dump_json(), status, headers)
