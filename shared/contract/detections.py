"""Requests and resources of detections: the faces of a photo, found and not restored."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

from shared.contract.restorations import (
    Input,
    Problem,
    ProgressView,
    QueueView,
    Request,
    Resource,
)
from shared.jobs.job import Status

# --- requests -------------------------------------------------------------------------------


class DetectionRequest(Request):
    """JSON body of POST /v1/detections."""

    input: Input


# --- resources ------------------------------------------------------------------------------


class FacePreview(Resource):
    """A small picture of one face. ``url`` is presigned and expires at ``url_expires_at``."""

    url: str
    width: int
    height: int
    url_expires_at: datetime


class FoundFace(Resource):
    """One face, in pixels of the upright photo. ``size`` is the shorter side of ``box``.

    ``sharpness``: share of fine detail in all detail, from 0 to 1. ``sharp``: a restoration with
    ``skip_sharp`` leaves the face as it is.
    """

    index: int
    box: tuple[float, float, float, float]
    landmarks: list[tuple[float, float]]
    score: float
    sharpness: float
    sharp: bool
    size: float
    preview: FacePreview


class PhotoView(Resource):
    """The upright photo in which the faces were searched; the hash is that of its file."""

    width: int
    height: int
    bytes: int
    sha256: str


class DetectionResult(Resource):
    """``detector`` names the network. Faces are numbered from left to right."""

    photo: PhotoView
    faces: list[FoundFace]
    detector: str


class Detection(Resource):
    """A job that finds faces, as clients see it."""

    id: str
    object: Literal["detection"] = "detection"
    status: Status
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    attempt: int
    input: dict[str, Any]
    progress: ProgressView | None
    queue: QueueView | None
    result: DetectionResult | None
    error: Problem | None
    warnings: list[str]
    timings_ms: dict[str, int]
    expires_at: datetime | None
