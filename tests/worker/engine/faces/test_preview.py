from __future__ import annotations

import numpy as np
import pytest

from worker.engine.faces.detector import DetectedFace
from worker.engine.faces.preview import MAX_PREVIEW_PX, preview

#: Each pixel says where it is.
IMAGE = np.stack([*np.indices((200, 240), np.uint8), np.zeros((200, 240), np.uint8)], axis=2)


def face(left: float, top: float, right: float, bottom: float) -> DetectedFace:
    return DetectedFace((left, top, right, bottom), np.zeros((5, 2)), 0.99)


def test_a_preview_shows_the_face_and_some_of_its_surroundings() -> None:
    shown = preview(IMAGE, face(100, 80, 140, 120))
    assert shown.shape == (60, 60, 3)
    assert tuple(shown[0, 0]) == (70, 90, 0)


def test_at_a_border_the_preview_ends_with_the_photo() -> None:
    shown = preview(IMAGE, face(0, 0, 40, 40))
    assert shown.shape == (50, 50, 3)
    assert tuple(shown[0, 0]) == (0, 0, 0)


def test_the_preview_of_a_large_face_is_reduced() -> None:
    shown = preview(IMAGE, face(10, 10, 210, 180))
    assert max(shown.shape) == MAX_PREVIEW_PX


@pytest.mark.parametrize("box", [(239.0, 199.0, 239.2, 199.2), (5.0, 5.0, 5.0, 5.0)])
def test_even_an_empty_box_has_a_preview(box: tuple[float, float, float, float]) -> None:
    assert min(preview(IMAGE, face(*box)).shape) >= 1
