"""Detections: faces are found once, chosen, and restored without another search."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from shared.restore_options import FacesOfDetection
from tests.worker.engine.conftest import unchanged, white
from worker.engine import FaceOptions, FoundFace, Restorer
from worker.engine.faces.detector import DetectedFace
from worker.imaging.decode import Photo

MakeRestorer = Callable[..., Restorer]


@pytest.fixture
def three_faces(astronaut_pixels: NDArray[np.uint8]) -> Photo:
    """The astronaut three times: as it is, sharp and small, and blurred."""
    head = Image.fromarray(astronaut_pixels[:260, 100:400])
    canvas = Image.new("RGB", (900, 280), (127, 127, 127))
    canvas.paste(head, (0, 10))
    canvas.paste(head.resize((150, 130), Image.Resampling.LANCZOS), (370, 80))
    canvas.paste(head.resize((60, 52)).resize((300, 260), Image.Resampling.BICUBIC), (590, 10))
    return Photo.of_pixels(np.asarray(canvas))


def again(faces: tuple[FoundFace, ...]) -> list[DetectedFace]:
    return [DetectedFace(face.box, np.array(face.landmarks), face.score) for face in faces]


def chosen(*indexes: int, **options: object) -> FaceOptions:
    faces = FacesOfDetection.model_validate({"detection_id": "det_1", "indexes": list(indexes)})
    return FaceOptions(faces=faces, **options)  # type: ignore[arg-type]


def test_a_detection_lists_the_faces_from_left_to_right_with_their_sharpness(
    restorer_doing: MakeRestorer, three_faces: Photo
) -> None:
    found = restorer_doing(unchanged).detect(three_faces).faces
    assert [face.index for face in found] == [0, 1, 2]
    assert [face.box[0] for face in found] == sorted(face.box[0] for face in found)
    assert [face.sharp for face in found] == [True, True, False]
    assert found[2].sharpness < found[0].sharpness
    for face in found:
        assert face.score > 0.9
        assert len(face.landmarks) == 5
        assert 0 < max(face.preview.shape[:2]) <= 160


def test_what_a_detection_calls_sharp_is_what_a_restoration_skips(
    restorer_doing: MakeRestorer, three_faces: Photo
) -> None:
    restorer = restorer_doing(white)
    found = restorer.detect(three_faces).faces
    restored = restorer.restore(three_faces, FaceOptions()).faces
    assert [face.reason == "already-sharp" for face in restored] == [face.sharp for face in found]


def test_chosen_faces_are_restored_without_another_search(
    restorer_doing: MakeRestorer, three_faces: Photo, monkeypatch: pytest.MonkeyPatch
) -> None:
    restorer = restorer_doing(white)
    found = restorer.detect(three_faces).faces
    monkeypatch.setattr(restorer, "_detector", None)
    options = chosen(0, 2, skip_sharp=False)
    restored = restorer.restore(three_faces, options, faces_found=again(found))
    assert [face.status for face in restored.faces] == ["restored", "skipped", "restored"]
    assert restored.faces[1].reason == "not-chosen"
    assert [face.box for face in restored.faces] == [face.box for face in found]


def test_a_chosen_face_is_restored_whatever_its_score_is(
    restorer_doing: MakeRestorer, three_faces: Photo
) -> None:
    restorer = restorer_doing(white)
    faces = [
        DetectedFace(face.box, face.landmarks, 0.6)
        for face in again(restorer.detect(three_faces).faces)
    ]
    restored = restorer.restore(three_faces, chosen(2, strict=True), faces_found=faces)
    assert [face.reason for face in restored.faces] == ["low-score", "low-score", None]


def test_a_photo_without_faces_has_an_empty_detection(restorer_doing: MakeRestorer) -> None:
    grey = Photo.of_pixels(np.full((80, 90, 3), 127, np.uint8))
    assert restorer_doing(unchanged).detect(grey).faces == ()


def test_all_faces_of_a_group_photo_are_found_and_chosen_again(
    restorer_doing: MakeRestorer, faces_dir: Path
) -> None:
    with Image.open(faces_dir / "solvay-1927.png") as image:
        photo = Photo(np.asarray(image.convert("RGB")), grey=True)
    restorer = restorer_doing(white)
    found = restorer.detect(photo).faces
    assert len(found) == 29
    options = chosen(3, 17, 28, skip_sharp=False)
    restored = restorer.restore(photo, options, faces_found=again(found)).faces
    assert [face.index for face in restored if face.status == "restored"] == [3, 17, 28]
    assert [face.box for face in restored] == [face.box for face in found]
