"""Requests and resources of the HTTP contract, for the API, the workers and Python clients.

Unknown fields are refused, types are not converted. Times are RFC 3339 in UTC.
"""

from __future__ import annotations

from dataclasses import fields
from datetime import datetime
from typing import Annotated, Any, Literal, Self, get_type_hints

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    create_model,
    field_validator,
    model_validator,
)

from shared.jobs.job import TERMINAL_EVENT, Event, Priority, Stage, Status, WaitUnknown
from shared.restore_options import RestoreOptions

#: ``shared.net.fetcher`` judges the text, with the code input-forbidden.
Url = Annotated[str, StringConstraints(min_length=8)]
#: ``shared.storage.keys`` judges the text.
Key = Annotated[str, StringConstraints(min_length=1, max_length=1024)]
#: ``api.jobs.uploads`` makes it.
UploadId = Annotated[str, StringConstraints(pattern=r"^upl_[0-9a-f]{32}$")]
ImageFormat = Literal["png", "jpeg", "webp"]


class Request(BaseModel):
    """Base of everything that clients send."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class Resource(BaseModel):
    """Base of everything that the service sends."""

    model_config = ConfigDict(extra="forbid", frozen=True)


# --- requests -------------------------------------------------------------------------------


class Input(Request):
    """Where the photo is. Exactly one field is given."""

    model_config = ConfigDict(json_schema_extra={"minProperties": 1, "maxProperties": 1})

    url: Url | None = None
    key: Key | None = None
    upload_id: UploadId | None = None

    @model_validator(mode="after")
    def _exactly_one(self) -> Self:
        if [self.url, self.key, self.upload_id].count(None) != 2:
            raise ValueError(
                "give exactly one of url, key and upload_id (or send the photo as multipart)"
            )
        return self


_types = get_type_hints(RestoreOptions, include_extras=True)
_definitions: dict[str, Any] = {
    each.name: (_types[each.name], each.default) for each in fields(RestoreOptions)
}
_OptionFields = create_model("_OptionFields", __base__=Request, **_definitions)


class Options(_OptionFields):
    """How to restore. Pixels are those of the upright photo that came in."""


class OutputStore(Request):
    """An address of the client that accepts the result by PUT, such as a presigned one.

    It may contain a secret, so it is shown without its query.
    """

    url: Url


class Output(Request):
    format: Literal["same", "png", "jpeg", "webp"] = "same"
    quality: Annotated[int, Field(ge=1, le=100)] = 95
    face_crops: bool = False
    comparison: bool = False
    key: Key | None = None
    store: OutputStore | None = None


class Webhook(Request):
    url: Url
    events: Annotated[list[Annotated[Event, Field(strict=False)]], Field(min_length=1)] = Field(
        default_factory=lambda: list(TERMINAL_EVENT.values())
    )


class RestorationParameters(Request):
    """A request without its photo: the part ``request`` of a multipart upload."""

    model: Annotated[str, StringConstraints(min_length=1, max_length=64)] | None = None
    options: Options = Options()
    output: Output = Output()
    webhook: Webhook | None = None
    priority: Annotated[Priority, Field(strict=False)] = Priority.NORMAL
    start_before_s: Annotated[int, Field(ge=1, le=86_400)] | None = None
    metadata: Annotated[
        dict[
            Annotated[str, StringConstraints(max_length=64)],
            Annotated[str, StringConstraints(max_length=1024)],
        ],
        Field(max_length=16),
    ] = Field(default_factory=dict)

    @field_validator("metadata")
    @classmethod
    def _metadata_is_small(cls, metadata: dict[str, str]) -> dict[str, str]:
        size = sum(len(k.encode()) + len(v.encode()) for k, v in metadata.items())
        if size > 4096:
            raise ValueError(f"metadata has {size} bytes; 4096 are allowed")
        return metadata


class RestorationRequest(RestorationParameters):
    """JSON body of POST /v1/restorations."""

    input: Input


# --- resources ------------------------------------------------------------------------------


class Problem(BaseModel):
    """An error (RFC 9457)."""

    model_config = ConfigDict(extra="allow")

    type: str
    title: str
    status: int
    detail: str
    code: str
    retryable: bool
    instance: str | None = None
    request_id: str | None = None
    errors: list[dict[str, str]] | None = None


class StoredImage(Resource):
    """``url`` is presigned and expires at ``url_expires_at``."""

    url: str | None
    key: str
    width: int
    height: int
    format: ImageFormat
    bytes: int
    sha256: str
    url_expires_at: datetime | None


class FaceCrop(Resource):
    before_url: str
    after_url: str


class Face(Resource):
    """The result for one face, in pixels of the upright photo. ``reason``: why not restored."""

    index: int
    box: tuple[float, float, float, float]
    landmarks: list[tuple[float, float]]
    score: float
    status: Literal["restored", "skipped", "failed"]
    reason: str | None
    identity_similarity: float | None = None
    crop: FaceCrop | None = None


class ModelUsed(Resource):
    name: str
    sha256: str
    precision: str
    backend: str


class BackgroundUsed(Resource):
    """The network that enlarged the picture ``scale`` times.

    ``averaged``: its scale is larger, and its output was averaged down.
    """

    name: str
    sha256: str
    precision: str
    scale: int
    averaged: bool


class StoredManifest(Resource):
    """The signed manifest of the result, JSON (DSSE). ``url`` is presigned."""

    url: str
    key: str
    url_expires_at: datetime


class Result(Resource):
    image: StoredImage
    comparison: StoredImage | None = None
    manifest: StoredManifest | None = None
    faces: list[Face]
    model: ModelUsed
    background: BackgroundUsed | None = None


class ProgressView(Resource):
    stage: Stage
    faces_done: int
    faces_total: int | None
    percent: int


class QueueView(Resource):
    """``eta_reason`` says why ``eta_s`` is null."""

    position: int
    eta_s: float | None
    eta_reason: WaitUnknown | None


class Restoration(Resource):
    """A job as clients see it. ``cached``: the result is that of an earlier equal job."""

    id: str
    object: Literal["restoration"] = "restoration"
    status: Status
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    attempt: int
    model: str
    options: dict[str, Any]
    input: dict[str, Any]
    output: dict[str, Any]
    metadata: dict[str, str]
    progress: ProgressView | None
    queue: QueueView | None
    result: Result | None
    cached: bool
    error: Problem | None
    warnings: list[str]
    timings_ms: dict[str, int]
    expires_at: datetime | None


class RestorationPage(Resource):
    data: list[Restoration]
    next_cursor: str | None


class ModelView(Resource):
    """A model that a request may name. Fields that only a live worker knows are null without one.

    ``task``: ``restore`` draws faces anew, ``colorize`` keeps their luminance and adds colour.
    """

    name: str
    default: bool
    loaded: bool
    size_px: int | None
    sha256: str | None
    licence: str | None
    precision: str | None
    backend: str | None
    ms_per_face: float | None
    task: str | None = None


class ModelList(Resource):
    data: list[ModelView]


class Readiness(Resource):
    """Whether each part responds. Readable without an API key, so it has no details."""

    ready: bool
    parts: dict[str, Literal["ok", "unreachable"]]
