"""What the service sends, as typed models. A field that this version does not know is kept out.

Times are aware ``datetime`` values in UTC. Boxes and landmarks are in pixels of the upright photo.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from facemend.parameters import FacesOfDetection

Status = Literal["queued", "running", "succeeded", "failed", "canceled"]
TERMINAL: frozenset[str] = frozenset({"succeeded", "failed", "canceled"})

_OPEN = Field(union_mode="left_to_right")
#: The known values; a newer service may have more.
Stage = Annotated[
    Literal["fetching", "detecting", "restoring", "pasting", "publishing"] | str, _OPEN
]
ImageFormat = Annotated[Literal["png", "jpeg", "webp"] | str, _OPEN]
WaitUnknown = Annotated[Literal["no-worker", "not-measured", "paused"] | str, _OPEN]
FaceStatus = Annotated[Literal["restored", "skipped", "failed"] | str, _OPEN]


class Model(BaseModel):
    """Base of all models: immutable; unknown fields are ignored."""

    model_config = ConfigDict(extra="ignore", frozen=True)


class Problem(Model):
    """An error (RFC 9457). docs/problems.md has the cause and the cure of each ``code``."""

    type: str
    title: str
    status: int
    detail: str
    code: str
    retryable: bool
    instance: str | None = None
    request_id: str | None = None
    errors: list[dict[str, str]] | None = None


class StoredImage(Model):
    """A picture of a job. ``url`` is presigned: it needs no key, until ``url_expires_at``."""

    url: str | None
    key: str
    width: int
    height: int
    format: ImageFormat
    bytes: int
    sha256: str
    url_expires_at: datetime | None


class FaceCrop(Model):
    before_url: str
    after_url: str


class Face(Model):
    """The result for one face. ``reason``: why it was not restored."""

    index: int
    box: tuple[float, float, float, float]
    landmarks: list[tuple[float, float]]
    score: float
    status: FaceStatus
    reason: str | None
    identity_similarity: float | None = None
    crop: FaceCrop | None = None


class ModelUsed(Model):
    name: str
    sha256: str
    precision: str
    backend: str


class BackgroundUsed(Model):
    """The network that enlarged the picture ``scale`` times."""

    name: str
    sha256: str
    precision: str
    scale: int
    averaged: bool


class StoredManifest(Model):
    """The signed manifest of the result, JSON (DSSE). ``url`` is presigned."""

    url: str
    key: str
    url_expires_at: datetime


class Result(Model):
    image: StoredImage
    comparison: StoredImage | None = None
    manifest: StoredManifest | None = None
    faces: list[Face]
    model: ModelUsed
    background: BackgroundUsed | None = None


class Progress(Model):
    stage: Stage
    faces_done: int
    faces_total: int | None
    percent: int


class Queue(Model):
    """``position`` 1 starts next. ``eta_s``: estimated seconds until the job starts.

    ``eta_reason`` says why ``eta_s`` is None.
    """

    position: int
    eta_s: float | None
    eta_reason: WaitUnknown | None


class Restoration(Model):
    """A job: one photo to restore. ``cached``: the result is that of an earlier equal job."""

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
    progress: Progress | None
    queue: Queue | None
    result: Result | None
    error: Problem | None
    warnings: list[str]
    timings_ms: dict[str, int]
    cached: bool
    expires_at: datetime | None

    @property
    def ended(self) -> bool:
        """Whether the job succeeded, failed or was canceled."""
        return self.status in TERMINAL


class RestorationPage(Model):
    data: list[Restoration]
    next_cursor: str | None


class FacePreview(Model):
    url: str
    width: int
    height: int
    url_expires_at: datetime


class FoundFace(Model):
    """A face that was found. ``size``: shorter side of ``box``; ``sharpness``: from 0 to 1.

    ``sharp``: a restoration with ``skip_sharp`` leaves the face as it is.
    """

    index: int
    box: tuple[float, float, float, float]
    landmarks: list[tuple[float, float]]
    score: float
    sharpness: float
    sharp: bool
    size: float
    preview: FacePreview


class PhotoView(Model):
    width: int
    height: int
    bytes: int
    sha256: str


class DetectionResult(Model):
    photo: PhotoView
    faces: list[FoundFace]
    detector: str


class Detection(Model):
    """A job that finds the faces of a photo, and restores none."""

    id: str
    object: Literal["detection"] = "detection"
    status: Status
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    attempt: int
    input: dict[str, Any]
    progress: Progress | None
    queue: Queue | None
    result: DetectionResult | None
    error: Problem | None
    warnings: list[str]
    timings_ms: dict[str, int]
    expires_at: datetime | None

    @property
    def ended(self) -> bool:
        """Whether the job succeeded, failed or was canceled."""
        return self.status in TERMINAL

    @property
    def faces(self) -> list[FoundFace]:
        """The faces from left to right; none before the detection has succeeded."""
        return self.result.faces if self.result else []

    def choose(self, *indexes: int) -> FacesOfDetection:
        """Return these faces as the option ``faces`` of a restoration of the same photo."""
        return {"detection_id": self.id, "indexes": list(indexes)}


class Upload(Model):
    """A place for one photo in the storage. Submit it with ``upload_id`` before ``expires_at``."""

    upload_id: str
    object: Literal["upload"] = "upload"
    url: str
    method: Literal["POST"] = "POST"
    fields: dict[str, str]
    expires_at: datetime


class BatchCounts(Model):
    """How many items are in each state. ``rejected``: they became no job."""

    total: int
    queued: int
    running: int
    succeeded: int
    failed: int
    canceled: int
    rejected: int
    erased: int


class BatchFile(Model):
    url: str
    key: str
    bytes: int
    url_expires_at: datetime


class Batch(Model):
    """Up to 1,000 photos of one request. ``manifest`` and ``archive`` come after its end."""

    id: str
    object: Literal["batch"] = "batch"
    status: Literal["queued", "running", "completed", "canceled"]
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    expires_at: datetime | None
    counts: BatchCounts
    eta_s: float | None
    manifest: BatchFile | None
    archive: BatchFile | None

    @property
    def ended(self) -> bool:
        """Whether all its jobs have ended."""
        return self.status in {"completed", "canceled"}


class BatchItem(Model):
    """One item: its job, or the problem for which it was rejected."""

    index: int
    status: Literal["queued", "running", "succeeded", "failed", "canceled", "rejected", "erased"]
    restoration_id: str | None
    restoration: Restoration | None
    error: Problem | None


class BatchItemPage(Model):
    data: list[BatchItem]
    next_cursor: str | None


class Token(Model):
    """A short-lived API key for a web page. ``token`` is shown only once."""

    id: str
    object: Literal["token"] = "token"
    token: str
    scopes: list[str]
    jobs: int
    expires_at: datetime


class Event(Model):
    """One change of a job: ``status`` or ``progress``. ``id`` continues a stream after it."""

    id: str
    type: str
    job: Restoration
