"""Requests and resources of /v1/batches."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import Field

from shared.batches.batch import COMPLETED_EVENT, MAX_ITEMS, BatchStatus
from shared.contract.restorations import (
    ImageFormat,
    Problem,
    Request,
    Resource,
    Restoration,
    RestorationParameters,
    Url,
)

# --- requests -------------------------------------------------------------------------------


def _completed() -> list[Literal["batch.completed"]]:
    return [COMPLETED_EVENT]


class BatchWebhook(Request):
    """Where the event ``batch.completed`` is sent."""

    url: Url
    events: Annotated[list[Literal["batch.completed"]], Field(min_length=1, max_length=1)] = Field(
        default_factory=_completed
    )


class BatchRequest(Request):
    """JSON body of POST /v1/batches.

    An item has the fields of RestorationRequest. It is checked alone: a wrong item is rejected, and
    the others are accepted. ``defaults`` has the fields that items leave out.
    """

    items: Annotated[
        list[dict[str, Any]],
        Field(
            min_length=1,
            max_length=MAX_ITEMS,
            description="Each is a RestorationRequest. Missing fields come from `defaults`.",
        ),
    ]
    defaults: RestorationParameters = RestorationParameters()
    webhook: BatchWebhook | None = None


# --- resources ------------------------------------------------------------------------------


class BatchCounts(Resource):
    """How many items are in each state. ``rejected``: they became no job, see their errors."""

    total: int
    queued: int
    running: int
    succeeded: int
    failed: int
    canceled: int
    rejected: int
    erased: int


class BatchFile(Resource):
    """A result of a batch in the storage. ``url`` is presigned, until ``url_expires_at``."""

    url: str
    key: str
    bytes: int
    url_expires_at: datetime


class Batch(Resource):
    """A batch as clients see it. ``eta_s``: estimated seconds until its last job has ended.

    ``manifest`` (JSON Lines, one item a line) and ``archive`` (ZIP of all pictures) are null until
    they are stored, some time after the last job has ended.
    """

    id: str
    object: Literal["batch"] = "batch"
    status: BatchStatus
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    expires_at: datetime | None
    counts: BatchCounts
    eta_s: float | None
    manifest: BatchFile | None
    archive: BatchFile | None


class BatchItem(Resource):
    """One item. ``restoration`` is null if the item was rejected (``error`` says why), or erased.

    An item that is not a job yet is ``queued`` and has no ``restoration``, for less than a minute.
    """

    index: int
    status: Literal["queued", "running", "succeeded", "failed", "canceled", "rejected", "erased"]
    restoration_id: str | None
    restoration: Restoration | None
    error: Problem | None


class BatchPicture(Resource):
    """The restored picture of an item, as an object of the storage."""

    key: str
    width: int
    height: int
    format: ImageFormat
    bytes: int
    sha256: str


class BatchManifestLine(Resource):
    """One line of the manifest of a batch. ``file``: the name of the picture in the archive."""

    index: int
    status: Literal["succeeded", "failed", "canceled", "rejected", "erased"]
    restoration_id: str | None
    input: dict[str, Any] | None
    metadata: dict[str, str]
    file: str | None
    image: BatchPicture | None
    faces_restored: int
    error: Problem | None


class BatchItemPage(Resource):
    data: list[BatchItem]
    next_cursor: str | None
