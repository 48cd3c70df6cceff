"""What the engine returns: the restored photo, a record of each face, and what was used."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from worker.imaging.decode import Photo, Pixels
from worker.weights.model_entry import Task

Box = tuple[float, float, float, float]
Points = tuple[tuple[float, float], ...]


@dataclass(frozen=True, slots=True)
class FaceRecord:
    """One face that was found, and what was done with it.

    ``index`` counts from left to right; faces below ``detection_threshold`` come last. ``box`` (x0,
    y0, x1, y1) and the five ``landmarks`` (x, y) are in pixels of the upright photo that came in,
    even if the result is larger. ``score`` is the detector's, 0…1. ``reason`` is None for a
    restored face, else a value of `worker.engine.faces.skip_reasons`. The crops, uint8 RGB
    (S, S, 3), exist for restored faces if the options ask for them. ``identity_similarity``, 0…1,
    exists if ``min_identity`` asks for it.
    """

    index: int
    box: Box
    landmarks: Points
    score: float
    status: Literal["restored", "skipped", "failed"]
    reason: str | None = None
    crop_before: Pixels | None = None
    crop_after: Pixels | None = None
    identity_similarity: float | None = None


@dataclass(frozen=True, slots=True)
class BackgroundUsed:
    """The weights that made the background ``scale`` times as large.

    ``averaged``: the network enlarges by more than ``scale``, and its output was averaged down.
    """

    name: str
    sha256: str
    precision: str
    scale: int
    averaged: bool


@dataclass(frozen=True, slots=True)
class Restoration:
    """The result of one photo.

    ``photo`` is the input with its faces replaced; ``warnings`` include those of the photo.
    ``timings_ms`` has ``detect``, ``restore`` (the wait for the network) and ``paste``; if the
    background was enlarged, it also has ``enlarge``, and ``background`` names the weights.
    """

    photo: Photo
    faces: tuple[FaceRecord, ...]
    timings_ms: dict[str, int] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    background: BackgroundUsed | None = None


@dataclass(frozen=True, slots=True)
class FoundFace:
    """One face of a detection; ``index``, ``box``, ``landmarks`` and ``score`` as in `FaceRecord`.

    ``sharpness``: share of fine detail, 0…1. ``sharp``: `Restorer.restore` with ``skip_sharp``
    leaves the face as it is. ``preview``: the face and some of its surroundings, uint8 RGB.
    """

    index: int
    box: Box
    landmarks: Points
    score: float
    sharpness: float
    sharp: bool
    preview: Pixels


@dataclass(frozen=True, slots=True)
class Detection:
    """The faces of one photo. ``timings_ms`` has ``detect``."""

    faces: tuple[FoundFace, ...]
    timings_ms: dict[str, int] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """The loaded model and how it runs.

    ``size_px`` is the side of the network's output, ``template`` the name of the alignment
    template, ``batch`` the largest number of faces in one batch. ``ms_per_face`` is measured at
    warm-up. ``task`` ``colorize``: the luminance of faces stays and their colour is generated.
    """

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
    batch: int = 1
    task: Task = "restore"
