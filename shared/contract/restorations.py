"""Requests and resources of the HTTP contract: one definition for API, worker and client.

Unknown fields are refused, types are not coerced. Times are RFC 3339 UTC.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

from shared.jobs.job import TERMINAL_EVENT, Event, Priority, Stage, Status

Url = Annotated[str, StringConstraints(min_length=8, max_length=2048)]
Key = Annotated[str, StringConstraints(min_length=1, max_length=512)]
Fraction = Annotated[float, Field(ge=0, le=1)]
FaceChoice = (
    Literal["all", "largest", "center"]
    | Annotated[list[Annotated[int, Field(ge=0, le=999)]], Field(min_length=1, max_length=100)]
)
ImageFormat = Literal["png", "jpeg", "webp"]


class Request(BaseModel):
    """Base of all that customers send."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class Resource(BaseModel):
    """Base of all that we answer."""

    model_config = ConfigDict(extra="forbid", frozen=True)


# --- requests -------------------------------------------------------------------------------


class Input(Request):
    """Where the photo is: exactly one of the fields."""

    model_config = ConfigDict(json_schema_extra={"minProperties": 1, "maxProperties": 1})

    url: Url | None = None
    key: Key | None = None

    @model_validator(mode="after")
    def _exactly_one(self) -> Self:
        if (self.url is None) == (self.key is None):
            raise ValueError("give exactly one of url and key (or send the photo as multipart)")
        return self


class Options(Request):
    """How to restore. ``min_face_px`` and boxes are in pixels of the upright photo.

    ``min_identity``: measure how alike each face is before and after (1: the same, 0.5: where two
    persons are told apart) and keep the old one below this; null does not measure.
    ``skip_sharp``: leave faces alone that are sharp already (reason ``already-sharp``).
    ``keep_colour``: give restored faces the colours and contrast that they had. ``post_filter``:
    smooth what the network drew, but not across edges. ``resampling``: how faces come into the crop
    that the network sees.
    ``noise_scale`` and ``truncation`` turn the network itself: 1 is what it was trained for.
    ``background``: x2 and x4 draw the whole picture anew, two or four times as large, and put the
    restored faces into that; boxes and landmarks stay in pixels of the photo that came in.
    """

    faces: FaceChoice = "all"
    aligned: bool = False
    min_face_px: Annotated[int, Field(ge=8, le=4096)] = 16
    max_faces: Annotated[int, Field(ge=1, le=500)] = 100
    detection_threshold: Annotated[float, Field(ge=0.05, le=1)] = 0.9
    strength: Fraction = 1.0
    min_identity: Fraction | None = None
    noise_scale: Annotated[float, Field(ge=0, le=2)] = 1.0
    truncation: Fraction = 1.0
    skip_sharp: bool = True
    keep_colour: bool = False
    post_filter: bool = False
    resampling: Literal["nearest", "linear", "cubic", "area"] = "area"
    seed: Annotated[int, Field(ge=0, le=2**31 - 1)] = 0
    background: Literal["keep", "x2", "x4"] = "keep"
    strict: bool = False


class Output(Request):
    format: Literal["same", "png", "jpeg", "webp"] = "same"
    quality: Annotated[int, Field(ge=1, le=100)] = 95
    face_crops: bool = False
    comparison: bool = False
    key: Key | None = None


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

    @model_validator(mode="after")
    def _metadata_is_small(self) -> Self:
        size = sum(len(k.encode()) + len(v.encode()) for k, v in self.metadata.items())
        if size > 4096:
            raise ValueError(f"metadata holds {size} bytes; 4096 are allowed")
        return self


class RestorationRequest(RestorationParameters):
    """JSON body of POST /v1/restorations."""

    input: Input


# --- resources ------------------------------------------------------------------------------


class Problem(BaseModel):
    """RFC 9457."""

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
    """``url`` is presigned and ends at ``url_expires_at``."""

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
    """What was done to one face and, if nothing, why. Pixels of the upright photo."""

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
    """What made the picture ``scale`` times as large.

    ``averaged``: by weights for a larger scale, whose answer was averaged down.
    """

    name: str
    sha256: str
    precision: str
    scale: int
    averaged: bool


class Result(Resource):
    image: StoredImage
    comparison: StoredImage | None = None
    faces: list[Face]
    model: ModelUsed
    background: BackgroundUsed | None = None


class ProgressView(Resource):
    stage: Stage
    faces_done: int
    faces_total: int | None
    percent: int


class QueueView(Resource):
    position: int
    eta_s: float | None


class Restoration(Resource):
    """A job as the customer sees it."""

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
    error: Problem | None
    warnings: list[str]
    timings_ms: dict[str, int]
    expires_at: datetime | None


class RestorationPage(Resource):
    data: list[Restoration]
    next_cursor: str | None


class ModelView(Resource):
    """A model that may be asked for. What only a live worker knows is null when none serves it.

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
    """Whether each part answers; nothing more is told to strangers."""

    ready: bool
    parts: dict[str, Literal["ok", "unreachable"]]
