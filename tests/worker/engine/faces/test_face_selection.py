from __future__ import annotations

import numpy as np
import pytest

from worker.engine.faces.detector import DetectedFace
from worker.engine.faces.face_selection import select_faces
from worker.engine.options import FaceOptions

# From left to right: small, large, middling in the middle of a 400 x 200 photo, tiny.
FACES = [
    DetectedFace((x, y, x + side, y + side), np.zeros((5, 2)), 0.99)
    for x, y, side in [(0.0, 0.0, 40.0), (60.0, 20.0, 90.0), (180.0, 80.0, 50.0), (390.0, 0.0, 9.0)]
]


def reasons(**options: object) -> list[str | None]:
    return select_faces(FACES, FaceOptions(**options), 200, 400)  # type: ignore[arg-type]


def test_all_faces_but_tiny_ones_are_selected() -> None:
    assert reasons() == [None, None, None, "too-small"]


@pytest.mark.parametrize(("min_face_px", "small"), [(41, 2), (40, 1), (9, 0)])
def test_the_shorter_side_decides_what_is_too_small(min_face_px: int, small: int) -> None:
    assert reasons(min_face_px=min_face_px).count("too-small") == small


def test_only_the_largest_face_is_selected() -> None:
    assert reasons(faces="largest") == ["not-chosen", None, "not-chosen", "not-chosen"]


def test_the_face_nearest_to_the_centre_is_selected() -> None:
    assert reasons(faces="center") == ["not-chosen", "not-chosen", None, "not-chosen"]


def test_faces_are_selected_by_index_and_missing_indexes_are_ignored() -> None:
    assert reasons(faces=(0, 3, 17)) == [None, "not-chosen", "not-chosen", "too-small"]


def test_above_the_maximum_the_largest_faces_are_selected() -> None:
    assert reasons(max_faces=2) == ["over-cap", None, None, "too-small"]


def test_without_faces_there_are_no_reasons() -> None:
    assert select_faces([], FaceOptions(faces="largest"), 10, 10) == []
