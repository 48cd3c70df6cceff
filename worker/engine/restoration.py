"""What is asked of a restorer and what it answers."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from worker.engine.images import Photo, Pixels

Box = tuple[float, float, float, float]
Points = tuple[tuple[float, float], ...]


@dataclass(frozen=True, slots=True)
class FaceOptions:
    """How to restore one photo.

    ``faces``: ``all``, ``largest``, ``center`` or indexes of an earlier answer. ``aligned``: the
    whole photo is one face crop, nothing is looked for. ``min_face_px``: shorter side of the box.
    ``strength``: 0 keeps the face, 1 replaces it. ``strict``: no face is an error. ``crops``: hand
    out the crops too; a crowd's are hundreds of megabytes.
    """

    faces: str | tuple[int, ...] = "all"
    aligned: bool = False
    min_face_px: int = 16
    max_faces: int = 100
    detection_threshold: float = 0.9
    strength: float = 1.0
    seed: int = 0
    strict: bool = False
    crops: bool = True


@dataclass(frozen=True, slots=True)
class FaceRecord:
    """One face found, from left to right, and what became of it.

    ``box`` x0 y0 x1 y1 and the five ``landmarks`` are in pixels of the upright photo. ``reason`` is
    None for a restored face, else ``not-chosen``, ``too-small``, ``over-cap``, or the code of the
    error of a failed one. Restored faces have crops, uint8 RGB (S, S, 3), if they were asked for.
    """

    index: int
    box: Box
    landmarks: Points
    score: float
    status: Literal["restored", "skipped", "failed"]
    reason: str | None = None
    crop_before: Pixels | None = None
    crop_after: Pixels | None = None


@dataclass(frozen=True, slots=True)
class Restoration:
    """``photo`` is the input with its faces replaced; its warnings are in ``warnings`` too.

    ``timings_ms`` has ``detect``, ``restore`` (waiting for the network) and ``paste``.
    """

    photo: Photo
    faces: tuple[FaceRecord, ...]
    timings_ms: dict[str, int] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """What is loaded, and how it runs. ``size_px`` is the side of the network's answer."""

    name: str
    sha256: str
    size_px: int
    licence: str
    template: str
    precision: str
    backend: str
    ms_per_face: float | None = None
    device: str = "cpu"
    detector: str = ""
