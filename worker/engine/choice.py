"""Which of the faces found are restored, and why the others are not."""

from __future__ import annotations

from collections.abc import Sequence

from worker.engine.faces import DetectedFace
from worker.engine.restoration import FaceOptions

NOT_CHOSEN, TOO_SMALL, OVER_CAP = "not-chosen", "too-small", "over-cap"


def choose(
    faces: Sequence[DetectedFace], options: FaceOptions, height_px: int, width_px: int
) -> list[str | None]:
    """For each face None (restore it) or the reason why not.

    Where more faces are chosen than ``max_faces``, the largest ones are restored.
    """
    wanted = _wanted(faces, options, height_px, width_px)
    large = {i for i in wanted if faces[i].short_side_px >= options.min_face_px}
    by_size = sorted(large, key=lambda i: (-faces[i].short_side_px, i))
    taken = set(by_size[: options.max_faces])

    def reason(index: int) -> str | None:
        if index in taken:
            return None
        if index not in wanted:
            return NOT_CHOSEN
        return OVER_CAP if index in large else TOO_SMALL

    return [reason(index) for index in range(len(faces))]


def _wanted(
    faces: Sequence[DetectedFace], options: FaceOptions, height_px: int, width_px: int
) -> set[int]:
    indexes = range(len(faces))
    if not isinstance(options.faces, str):
        return set(indexes) & set(options.faces)
    if options.faces == "all" or not faces:
        return set(indexes)
    if options.faces == "largest":
        return {max(indexes, key=lambda i: (faces[i].short_side_px, -i))}
    centre = (width_px / 2, height_px / 2)
    return {min(indexes, key=lambda i: (_distance(faces[i], centre), i))}


def _distance(face: DetectedFace, point: tuple[float, float]) -> float:
    x0, y0, x1, y1 = face.box
    return float(((x0 + x1) / 2 - point[0]) ** 2 + ((y0 + y1) / 2 - point[1]) ** 2)
