"""What a request may contain, as typed dictionaries. The service checks ranges and names.

docs/http-api.md explains each field.
"""

from __future__ import annotations

from typing import Literal

from typing_extensions import TypedDict  # of pydantic; that of Python 3.11 is none that it reads

Priority = Literal["high", "normal", "low"]
Format = Literal["same", "png", "jpeg", "webp"]
EventType = Literal[
    "restoration.started", "restoration.succeeded", "restoration.failed", "restoration.canceled"
]


class FacesOfDetection(TypedDict):
    """Faces that an earlier detection found in the same photo."""

    detection_id: str
    indexes: list[int]


class Options(TypedDict, total=False):
    """How to restore. Pixels are those of the upright photo that came in."""

    faces: Literal["all", "largest", "center"] | list[int] | FacesOfDetection
    aligned: bool
    min_face_px: int
    max_faces: int
    detection_threshold: float
    strength: float
    min_identity: float | None
    noise_scale: float
    truncation: float
    skip_sharp: bool
    keep_colour: bool
    post_filter: bool
    resampling: Literal["nearest", "linear", "cubic", "area"]
    seed: int
    background: Literal["keep", "x2", "x4"]
    strict: bool


class OutputStore(TypedDict):
    """An address that accepts the result by PUT, such as a presigned one."""

    url: str


class Output(TypedDict, total=False):
    """Which pictures to make, and in which format."""

    format: Format
    quality: int
    face_crops: bool
    comparison: bool
    key: str | None
    store: OutputStore | None


class Webhook(TypedDict, total=False):
    """Where to send a signed message, and about which events (default: the three ends)."""

    url: str
    events: list[EventType]


class Request(TypedDict, total=False):
    """A request without its photo."""

    model: str | None
    options: Options
    output: Output
    webhook: Webhook | None
    priority: Priority
    start_before_s: int | None
    metadata: dict[str, str]


class Source(TypedDict, total=False):
    """Where the photo of an item is: exactly one of them."""

    url: str | None
    key: str | None
    upload_id: str | None


class Item(Request, total=False):
    """One photo of a batch: a request with its ``input``."""

    input: Source


class BatchWebhook(TypedDict, total=False):
    """Where the event ``batch.completed`` is sent."""

    url: str
    events: list[Literal["batch.completed"]]


Scope = Literal["restorations:read", "restorations:write", "admin"]
