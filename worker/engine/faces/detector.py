"""The face detector: RetinaFace (Deng et al., arXiv 1905.00641), with the network of facexlib.

facexlib's own detector stores the data of one image on the instance and computes its anchors in a
Python loop. So only its network is used (`worker.engine.faces.retinaface`), in torch or exported.
This module turns the network's output into faces. It needs no torch and keeps no state between
images.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
#: A network: uint8 RGB (H, W, 3) to, for each of the N anchors, the offsets of its box (N, 4), its
#: score (N,) and the offsets of its landmarks (N, 10).
DetectorNetwork = Callable[[NDArray[np.uint8]], tuple[Floats, Floats, Floats]]

#: Photos are reduced to this many pixels on the long side; smaller faces than that shows are lost.
MAX_DETECTION_PX = 1600
#: The long side for a second detection if the first finds nothing: anchors end at 512 px.
SECOND_DETECTION_PX = 512
#: Landmarks of faces that appear larger than the first value jitter by several percent of the
#: distance between the eyes (measured on photos enlarged step by step); the second value is best.
_UNSTEADY_PX, _STEADY_PX = 400, 200
_OVERLAP = 0.4
_MAX_CANDIDATES = 5000
#: RetinaFace's anchors: pixels between two of a level, and their sides in pixels.
_LEVELS = ((8, (16, 32)), (16, (64, 128)), (32, (256, 512)))
#: What the offsets of centres and of sizes are multiplied by.
_CENTRE_VARIANCE, _SIZE_VARIANCE = np.float32(0.1), np.float32(0.2)


@dataclass(frozen=True, slots=True)
class DetectedFace:
    """One face, in pixels of the photo: box x0 y0 x1 y1 inside its borders, landmarks (5, 2) x y.

    Landmarks: left eye, right eye, nose, left and right corner of the mouth, as the viewer sees
    them. ``score``: 0…1.
    """

    box: tuple[float, float, float, float]
    landmarks: NDArray[np.float64]
    score: float

    @property
    def short_side_px(self) -> float:
        """Shorter side of the box."""
        x0, y0, x1, y1 = self.box
        return min(x1 - x0, y1 - y0)

    @property
    def long_side_px(self) -> float:
        """Longer side of the box."""
        x0, y0, x1, y1 = self.box
        return max(x1 - x0, y1 - y0)

    def overlap(self, other: DetectedFace) -> float:
        """Return the intersection of both boxes over their union, 0…1."""
        a, b = np.array(self.box).reshape(2, 2), np.array(other.box).reshape(2, 2)
        shared = float((np.minimum(a[1], b[1]) - np.maximum(a[0], b[0])).clip(0).prod())
        union = float((a[1] - a[0]).prod() + (b[1] - b[0]).prod()) - shared
        return shared / union if union > 0 else 0.0


class FaceDetector:
    """RetinaFace. It is thread-safe: calls take turns, because each detection uses all cores."""

    def __init__(self, network: DetectorNetwork, name: str) -> None:
        self.name = name
        self._network = network
        self._turn = threading.Lock()

    def detect(
        self, image: NDArray[np.uint8], threshold: float, min_score: float | None = None
    ) -> tuple[DetectedFace, ...]:
        """Return the faces with a score above ``min_score``, from left to right.

        ``image`` is uint8 RGB (H, W, 3) of any size. If no face scores above ``threshold``, a
        smaller copy is searched too. ``min_score`` is ``threshold`` if it is not given.
        """
        min_score = threshold if min_score is None else min(min_score, threshold)
        long_side_px = min(MAX_DETECTION_PX, max(image.shape[:2]))
        faces = self._detect_at(image, long_side_px, min_score)
        if long_side_px > SECOND_DETECTION_PX and all(face.score <= threshold for face in faces):
            smaller = self._detect_at(image, SECOND_DETECTION_PX, min_score)
            if any(face.score > threshold for face in smaller) or not faces:
                faces, long_side_px = smaller, SECOND_DETECTION_PX
        scale = long_side_px / max(image.shape[:2])
        largest_px = scale * max((face.long_side_px for face in faces), default=0)
        if largest_px > _UNSTEADY_PX:
            smaller = self._detect_at(
                image, round(long_side_px * _STEADY_PX / largest_px), min_score
            )
            faces = [_steadier(face, smaller, _UNSTEADY_PX / scale) for face in faces]
        return tuple(sorted(faces, key=lambda face: (face.box, face.score)))

    def _detect_at(
        self, image: NDArray[np.uint8], long_side_px: int, threshold: float
    ) -> list[DetectedFace]:
        height, width = image.shape[:2]
        scale = min(1.0, long_side_px / max(height, width))
        if scale < 1:
            size = (max(1, round(width * scale)), max(1, round(height * scale)))
            seen = np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)
        else:
            seen = image
        boxes, scores, landmarks = self._run(seen, threshold)
        full = np.array([width, height], np.float64)
        corners = (boxes.reshape(-1, 2, 2) * full).clip(0, full).reshape(-1, 4)
        return [
            DetectedFace((float(b[0]), float(b[1]), float(b[2]), float(b[3])), points, float(score))
            for b, points, score in zip(
                corners, landmarks.reshape(-1, 5, 2) * full, scores, strict=True
            )
        ]

    def _run(self, image: NDArray[np.uint8], threshold: float) -> tuple[Floats, Floats, Floats]:
        """Return boxes (N, 4), scores (N,) and landmarks (N, 10) in fractions of the image."""
        with self._turn:
            offsets, scores, points = self._network(np.ascontiguousarray(image))
        likely = np.flatnonzero(scores > threshold)
        likely = likely[np.argsort(-scores[likely], kind="stable")[:_MAX_CANDIDATES]]
        priors = anchors(*image.shape[:2])[likely]
        boxes, landmarks = decoded(offsets[likely], points[likely], priors)
        keep = suppress(boxes, scores[likely], _OVERLAP)
        return boxes[keep], scores[likely][keep], landmarks[keep]


def _steadier(face: DetectedFace, smaller: list[DetectedFace], over_px: float) -> DetectedFace:
    """Prefer the same face in a smaller copy if this one is so large that its landmarks jitter."""
    if face.long_side_px <= over_px:
        return face
    same = max(smaller, key=face.overlap, default=None)
    return same if same is not None and face.overlap(same) > _OVERLAP else face


def anchors(height: int, width: int) -> Floats:
    """Return RetinaFace's anchors, (N, 4): centre and size as fractions, in the network's order."""
    levels = []
    for step, sides in _LEVELS:
        y = (np.arange(-(-height // step), dtype=np.float32) + 0.5) * (step / height)
        x = (np.arange(-(-width // step), dtype=np.float32) + 0.5) * (step / width)
        grid = np.meshgrid(y, x, np.array(sides, np.float32), indexing="ij")
        rows, columns, size = grid
        level = np.stack((columns, rows, size / width, size / height), -1)
        levels.append(level.reshape(-1, 4).astype(np.float32))
    return np.concatenate(levels)


def decoded(offsets: Floats, points: Floats, priors: Floats) -> tuple[Floats, Floats]:
    """Return boxes x0 y0 x1 y1 (N, 4) and landmarks (N, 10) of N anchors, as fractions.

    The decoding of SSD (Liu et al., arXiv 1512.02325), as facexlib does it.
    """
    centres, sizes = priors[:, :2], priors[:, 2:]
    middles = centres + offsets[:, :2] * _CENTRE_VARIANCE * sizes
    sides = sizes * np.exp(offsets[:, 2:] * _SIZE_VARIANCE)
    starts = middles - sides / 2
    marks = centres[:, None] + points.reshape(-1, 5, 2) * _CENTRE_VARIANCE * sizes[:, None]
    return np.concatenate((starts, starts + sides), 1), marks.reshape(-1, 10)


def suppress(boxes: Floats, scores: Floats, overlap: float) -> NDArray[np.int64]:
    """Non-maximum suppression: boxes (N, 4) x0 y0 x1 y1 and scores (N,) give (K,) int64 indices.

    The indices of the boxes to keep come best first. As in torchvision, a box is dropped if its
    overlap with a better one exceeds ``overlap``.
    """
    order = np.argsort(-scores, kind="stable")
    boxes = boxes[order]
    areas = (boxes[:, 2:] - boxes[:, :2]).prod(1)
    alive = np.ones(len(boxes), bool)
    keep = []
    for index in range(len(boxes)):
        if not alive[index]:
            continue
        keep.append(index)
        corners = np.maximum(boxes[index, :2], boxes[index + 1 :, :2])
        sides = np.minimum(boxes[index, 2:], boxes[index + 1 :, 2:]) - corners
        shared = sides.clip(0).prod(1)
        union = areas[index] + areas[index + 1 :] - shared
        alive[index + 1 :] &= shared <= overlap * union
    return order[np.array(keep, np.int64)]
