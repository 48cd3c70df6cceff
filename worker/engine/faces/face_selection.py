"""Decides which of the detected faces are restored, and why the others are not."""

from __future__ import annotations

from collections.abc import Sequence

from shared.restore_options import FacesOfDetection
from worker.engine.faces.detector import DetectedFace
from worker.engine.faces.skip_reasons import (
    LOW_SCORE,
    NOT_CHOSEN,
    OVER_CAP,
    STRENGTH_ZERO,
    TOO_SMALL,
)
from worker.engine.options import FaceOptions

#: Faces with a score above this are listed in the result, if only as skipped.
MIN_REPORTED_SCORE = 0.5
_SAME_FACE_OVERLAP = 0.1


def order_faces(faces: Sequence[DetectedFace], threshold: float) -> tuple[DetectedFace, ...]:
    """Return the faces above the threshold from left to right, then those below it.

    So another threshold does not renumber the faces above it. A face below the threshold that
    overlaps one above it is left out: it is the same face with a worse score.
    """
    above = [face for face in faces if face.score > threshold]
    below = [face for face in faces if face.score <= threshold]
    separate = [
        face for face in below if all(face.overlap(one) < _SAME_FACE_OVERLAP for one in above)
    ]
    return (*above, *separate)


def select_faces(
    faces: Sequence[DetectedFace], options: FaceOptions, height_px: int, width_px: int
) -> list[str | None]:
    """Return for each face None (restore it) or the reason why it is skipped.

    If the options choose more than ``max_faces`` faces, the largest are restored.
    """
    above = accepted_faces(faces, options)
    wanted = _wanted(faces, above, options, height_px, width_px)
    large = {i for i in wanted if faces[i].short_side_px >= options.min_face_px}
    by_size = sorted(large, key=lambda i: (-faces[i].short_side_px, i))
    selected = set(by_size[: options.max_faces])

    def reason(index: int) -> str | None:
        if index in selected:
            return None if options.strength else STRENGTH_ZERO
        if index not in above:
            return LOW_SCORE
        if index not in wanted:
            return NOT_CHOSEN
        return OVER_CAP if index in large else TOO_SMALL

    return [reason(index) for index in range(len(faces))]


def chosen_indexes(options: FaceOptions) -> Sequence[int]:
    """Return the indexes that the options name; empty if they name faces in words."""
    if isinstance(options.faces, FacesOfDetection):
        return options.faces.indexes
    return () if isinstance(options.faces, str) else options.faces


def accepted_faces(faces: Sequence[DetectedFace], options: FaceOptions) -> list[int]:
    """Return the indexes of what counts as a face: its score is above the threshold.

    An aligned photo always is a face. What was chosen from a detection also is, whatever its score:
    a person has looked at it.
    """
    of_detection = isinstance(options.faces, FacesOfDetection)
    chosen = set(chosen_indexes(options)) if of_detection else set()
    return [
        index
        for index, face in enumerate(faces)
        if options.aligned or face.score > options.detection_threshold or index in chosen
    ]


def _wanted(
    faces: Sequence[DetectedFace],
    above: Sequence[int],
    options: FaceOptions,
    height_px: int,
    width_px: int,
) -> set[int]:
    if not isinstance(options.faces, str):
        return set(above) & set(chosen_indexes(options))
    if options.faces == "all" or not above:
        return set(above)
    if options.faces == "largest":
        return {max(above, key=lambda i: (faces[i].short_side_px, -i))}
    centre = (width_px / 2, height_px / 2)
    return {min(above, key=lambda i: (_squared_distance(faces[i], centre), i))}


def _squared_distance(face: DetectedFace, point: tuple[float, float]) -> float:
    x0, y0, x1, y1 = face.box
    return float(((x0 + x1) / 2 - point[0]) ** 2 + ((y0 + y1) / 2 - point[1]) ** 2)
