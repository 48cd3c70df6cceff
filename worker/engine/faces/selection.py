"""Which of the faces found are restored, and why the others are not."""

from __future__ import annotations

from collections.abc import Sequence

from worker.engine.faces.detector import DetectedFace
from worker.engine.faces.skip_reasons import LOW_SCORE, NOT_CHOSEN, OVER_CAP, TOO_SMALL
from worker.engine.restoration import FaceOptions

#: What the detector holds for a face by half is told of, if only as skipped.
LEAST_SCORE = 0.5
_SAME_FACE = 0.1


def in_order(faces: Sequence[DetectedFace], threshold: float) -> tuple[DetectedFace, ...]:
    """Faces above the threshold first, from left to right, then those that are told of only.

    So the threshold renumbers no face that is above it. Of the others those are left out that
    overlap one above it: they are the same face, seen less well.
    """
    sure = [face for face in faces if face.score > threshold]
    unsure = [face for face in faces if face.score <= threshold]
    alone = [face for face in unsure if all(face.overlap(one) < _SAME_FACE for one in sure)]
    return (*sure, *alone)


def choose(
    faces: Sequence[DetectedFace], options: FaceOptions, height_px: int, width_px: int
) -> list[str | None]:
    """For each face None (restore it) or the reason why not.

    Where more faces are chosen than ``max_faces``, the largest ones are restored.
    """
    sure = [i for i, face in enumerate(faces) if is_sure(face, options)]
    wanted = _wanted(faces, sure, options, height_px, width_px)
    large = {i for i in wanted if faces[i].short_side_px >= options.min_face_px}
    by_size = sorted(large, key=lambda i: (-faces[i].short_side_px, i))
    taken = set(by_size[: options.max_faces])

    def reason(index: int) -> str | None:
        if index in taken:
            return None
        if index not in sure:
            return LOW_SCORE
        if index not in wanted:
            return NOT_CHOSEN
        return OVER_CAP if index in large else TOO_SMALL

    return [reason(index) for index in range(len(faces))]


def is_sure(face: DetectedFace, options: FaceOptions) -> bool:
    """Whether the face is above the threshold; an aligned photo is one by its sender's word."""
    return options.aligned or face.score > options.detection_threshold


def _wanted(
    faces: Sequence[DetectedFace],
    sure: Sequence[int],
    options: FaceOptions,
    height_px: int,
    width_px: int,
) -> set[int]:
    if not isinstance(options.faces, str):
        return set(sure) & set(options.faces)
    if options.faces == "all" or not sure:
        return set(sure)
    if options.faces == "largest":
        return {max(sure, key=lambda i: (faces[i].short_side_px, -i))}
    centre = (width_px / 2, height_px / 2)
    return {min(sure, key=lambda i: (_distance(faces[i], centre), i))}


def _distance(face: DetectedFace, point: tuple[float, float]) -> float:
    x0, y0, x1, y1 = face.box
    return float(((x0 + x1) / 2 - point[0]) ** 2 + ((y0 + y1) / 2 - point[1]) ** 2)
