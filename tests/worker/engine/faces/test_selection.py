from __future__ import annotations

import numpy as np
import pytest

from worker.engine.faces.detector import DetectedFace
from worker.engine.faces.selection import choose
from worker.engine.restoration import FaceOptions

# From left to right: small, large, middling in the middle of a 400 x 200 photo, tiny.
FACES = [
    DetectedFace((x, y, x + side, y + side), np.zeros((5, 2)), 0.99)
    for x, y, side in [(0.0, 0.0, 40.0), (60.0, 20.0, 90.0), (180.0, 80.0, 50.0), (390.0, 0.0, 9.0)]
]


def reasons(**options: object) -> list[str | None]:
    return choose(FACES, FaceOptions(**options), 200, 400)  # type: ignore[arg-type]


def test_all_but_the_tiny_are_taken() -> None:
    assert reasons() == [None, None, None, "too-small"]


@pytest.mark.parametrize(("min_face_px", "small"), [(41, 2), (40, 1), (9, 0)])
def test_the_shorter_side_decides_what_is_too_small(min_face_px: int, small: int) -> None:
    assert reasons(min_face_px=min_face_px).count("too-small") == small


def test_the_largest_alone() -> None:
    assert reasons(faces="largest") == ["not-chosen", None, "not-chosen", "not-chosen"]


def test_the_one_nearest_to_the_centre() -> None:
    assert reasons(faces="center") == ["not-chosen", "not-chosen", None, "not-chosen"]


def test_faces_by_index_and_those_that_do_not_exist() -> None:
    assert reasons(faces=(0, 3, 17)) == [None, "not-chosen", "not-chosen", "too-small"]


def test_over_the_cap_the_largest_stay() -> None:
    assert reasons(max_faces=2) == ["over-cap", None, None, "too-small"]


def test_no_faces_no_reasons() -> None:
    assert choose([], FaceOptions(faces="largest"), 10, 10) == []
