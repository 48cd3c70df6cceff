"""What is asked of a restorer and what it answers."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from worker.imaging.decode import Photo, Pixels
from worker.imaging.geometry import Resampling
from worker.weights.catalogue import Task

Box = tuple[float, float, float, float]
Points = tuple[tuple[float, float], ...]


@dataclass(frozen=True, slots=True)
class FaceOptions:
    """How to restore one photo.

    ``faces``: ``all``, ``largest``, ``center`` or indexes of an earlier answer. ``aligned``: the
    whole photo is one face crop, nothing is looked for. ``min_face_px``: shorter side of the box.
    ``strength``: 0 keeps the face, 1 replaces it. ``min_identity``: measure how alike each face is
    before and after, 0…1, and keep the old one below this (0 only measures). ``strict``: no face is
    an error, and so is one kept for that. ``noise_scale`` and ``truncation``: see ``Controls``.
    ``skip_sharp``: leave faces alone that are sharp already. ``keep_colour``: give restored faces
    the colours and contrast that they had. ``post_filter``: smooth what the network drew, but not
    across edges. ``resampling``: how faces come into the crop that the network sees.
    ``background``: what is not face stays as it is, or is drawn anew two or four times as large.
    ``crops``: hand out the crops too; a crowd's are hundreds of megabytes.
    """

    faces: str | tuple[int, ...] = "all"
    aligned: bool = False
    min_face_px: int = 16
    max_faces: int = 100
    detection_threshold: float = 0.9
    strength: float = 1.0
    min_identity: float | None = None
    seed: int = 0
    noise_scale: float = 1.0
    truncation: float = 1.0
    skip_sharp: bool = True
    keep_colour: bool = False
    post_filter: bool = False
    resampling: Resampling = "area"
    strict: bool = False
    background: Literal["keep", "x2", "x4"] = "keep"
    crops: bool = True

    @property
    def background_scale(self) -> int:
        """How many times larger the result is."""
        return {"keep": 1, "x2": 2, "x4": 4}[self.background]


@dataclass(frozen=True, slots=True)
class FaceRecord:
    """One face found and what became of it.

    Faces count from left to right; after them come those below ``detection_threshold``.

    ``box`` x0 y0 x1 y1 and the five ``landmarks`` are in pixels of the upright photo that came in,
    even where the result is larger. ``reason`` is None for a restored face, else of ``reasons``.
    ``identity_similarity`` is there where ``min_identity`` asked for it; restored faces have crops,
    uint8 RGB (S, S, 3), if they were asked for.
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
    """What made the background ``scale`` times as large.

    ``averaged``: the network enlarges by more, and its answer was averaged down to ``scale``.
    """

    name: str
    sha256: str
    precision: str
    scale: int
    averaged: bool


@dataclass(frozen=True, slots=True)
class Restoration:
    """``photo`` is the input with its faces replaced; its warnings are in ``warnings`` too.

    ``timings_ms`` has ``detect``, ``restore`` (waiting for the network) and ``paste``. Where the
    background was made larger, it has ``enlarge`` too, and ``background`` says by what.
    """

    photo: Photo
    faces: tuple[FaceRecord, ...]
    timings_ms: dict[str, int] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    background: BackgroundUsed | None = None


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """What is loaded, and how it runs.

    ``size_px`` is the side of the network's answer, ``batch`` the most faces it is given at once.
    ``task`` ``colorize``: the luminance of faces stays, their colour is made up.
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
