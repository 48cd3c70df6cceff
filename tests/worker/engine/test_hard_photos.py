"""Photos and faces at their limits: no error, and only faces change."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from torch import Tensor

from shared.errors import UnsupportedImage
from tests.worker.engine.conftest import CPU, Mapped, unchanged, white
from worker.engine import FaceOptions, ModelInfo, Restorer
from worker.engine.backends.torch_backend import TorchBackend
from worker.engine.faces.detector import DetectedFace, FaceDetector
from worker.engine.faces.parsing import FaceParser
from worker.engine.load import load_restorer
from worker.imaging.decode import Photo
from worker.imaging.encode import encode
from worker.imaging.geometry import template_points
from worker.imaging.sixteen_bit import rounded

MakeRestorer = Callable[..., Restorer]
asked = partial(FaceOptions, skip_sharp=False)
RNG = np.random.default_rng(9)


class ScriptedDetector(FaceDetector):
    """Finds the faces of its list in every photo."""

    def __init__(self, *faces: DetectedFace) -> None:
        self._faces = faces

    def detect(self, *_: Any, **__: Any) -> tuple[DetectedFace, ...]:
        return self._faces


def face_at(x: float, y: float, side_px: float, degrees: float = 0, score: float = 1.0) -> Any:
    """A face of this size about a point; its box is not cut at the photo's borders."""
    angle = np.radians(degrees)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    landmarks = (template_points("ffhq", 2) - 1) @ turn.T * side_px + [x, y]
    half = side_px / 2
    return DetectedFace((x - half, y - half, x + half, y + half), landmarks, score)


@pytest.fixture
def restore() -> Callable[..., Any]:
    def run(
        photo: Photo,
        *faces: DetectedFace,
        change: Callable[[Tensor], Tensor] = white,
        parser: FaceParser | None = None,
        **options: Any,
    ) -> Any:
        info = ModelInfo("test", "0" * 64, 128, "own", "ffhq", "fp32", "torch")
        network = TorchBackend(Mapped(change), CPU, "fp32")  # type: ignore[arg-type]
        restorer = Restorer(
            network, ScriptedDetector(*faces), info, max_batch=8, max_batch_wait_ms=0, parser=parser
        )
        try:
            return restorer.restore(photo, asked(**options))
        finally:
            restorer.close()

    return run


def noise(height: int, width: int) -> NDArray[np.uint8]:
    return RNG.integers(0, 256, (height, width, 3)).astype(np.uint8)


def deep_photo(height: int, width: int, channels: int = 3) -> Photo:
    deep = RNG.integers(0, 65_536, (height, width, channels)).astype(np.uint16)
    alpha = rounded(deep[:, :, 3]) if channels == 4 else None
    return Photo(rounded(deep[:, :, :3]), deep=deep, alpha=alpha)


CROWD = [face_at(60, 60, 60, 20), face_at(95, 70, 70, -35), face_at(150, 90, 40, 170)]


@pytest.mark.parametrize("resampling", ["nearest", "linear", "cubic", "area"])
@pytest.mark.parametrize("strength", [1.0, 0.4])
def test_there_is_no_seam_around_overlapping_and_rotated_faces(
    restore: Any, strength: float, resampling: str
) -> None:
    photo = replace(Photo.of_pixels(noise(160, 200)), alpha=noise(160, 200)[:, :, 0])
    done = restore(photo, *CROWD, change=unchanged, strength=strength, resampling=resampling)
    assert [face.status for face in done.faces] == ["restored"] * 3
    np.testing.assert_array_equal(done.photo.pixels, photo.pixels)
    assert done.photo.alpha is photo.alpha


@pytest.mark.parametrize("channels", [3, 4])
def test_there_is_no_seam_in_16_bits(restore: Any, channels: int) -> None:
    photo = deep_photo(160, 200, channels)
    done = restore(photo, *CROWD, change=unchanged)
    np.testing.assert_array_equal(done.photo.deep, photo.deep)
    np.testing.assert_array_equal(done.photo.pixels, photo.pixels)


@pytest.mark.parametrize("option", [{"keep_colour": True}, {"post_filter": True}])
def test_postprocessing_leaves_no_seam_in_an_unchanged_face(restore: Any, option: Any) -> None:
    photo = Photo.of_pixels(np.full((160, 200, 3), 133, np.uint8))
    done = restore(photo, *CROWD, change=unchanged, **option)
    assert np.abs(done.photo.pixels.astype(int) - photo.pixels).max() <= 1


def test_in_16_bits_a_face_changes_as_in_8_and_nothing_else_does(restore: Any) -> None:
    photo = deep_photo(160, 200)
    done = restore(photo, CROWD[0], strength=0.5)
    plain = restore(replace(photo, deep=None), CROWD[0], strength=0.5)
    assert photo.deep is not None
    changed = (done.photo.deep != photo.deep).any(2)
    assert 0.05 < changed.mean() < 0.5
    assert np.abs(done.photo.pixels.astype(int) - plain.photo.pixels).max() <= 1
    assert (done.photo.deep[changed] % 257 != 0).mean() > 0.7  # finer than 8 bits


def test_a_grey_photo_of_16_bits_stays_grey(restore: Any) -> None:
    photo = deep_photo(160, 200)
    assert photo.deep is not None
    deep = np.repeat(photo.deep[:, :, :1], 3, axis=2)
    done = restore(Photo(rounded(deep), deep=deep, grey=True), CROWD[0])
    assert np.ptp(done.photo.deep.astype(int), axis=2).max() == 0


@pytest.mark.parametrize("side_px", [2, 16, 2000])
def test_faces_of_any_size_are_restored(restore: Any, side_px: int) -> None:
    photo = Photo.of_pixels(np.full((400, 300, 3), 20, np.uint8))
    done = restore(photo, face_at(150, 200, side_px), min_face_px=1)
    assert done.faces[0].status == "restored"
    assert done.photo.pixels[200, 150].min() > 200
    changed = (done.photo.pixels != 20).any(2).sum()
    assert changed <= min(2 * side_px**2 + 60, 400 * 300)


@pytest.mark.parametrize(
    ("x", "y"), [(0, 0), (299, 200), (150, -20), (-5000, 9000), (150, 399), (1e7, 1e7)]
)
def test_faces_across_the_edge_with_landmarks_outside_are_restored(
    restore: Any, x: float, y: float
) -> None:
    photo = Photo.of_pixels(noise(400, 300))
    for change in (unchanged, white):
        done = restore(photo, face_at(x, y, 90, 30), change=change)
        assert done.faces[0].status == "restored"
        assert done.photo.pixels.shape == photo.pixels.shape
        if change is unchanged or abs(x) > 1000:
            np.testing.assert_array_equal(done.photo.pixels, photo.pixels)


def test_a_face_with_all_landmarks_on_one_point_fails_alone(restore: Any) -> None:
    face = face_at(150, 200, 90)
    face = replace(face, landmarks=np.full((5, 2), 120.0))
    photo = Photo.of_pixels(noise(400, 300))
    done = restore(photo, face)
    assert [(face.status, face.reason) for face in done.faces] == [("failed", "not-parsed")]
    np.testing.assert_array_equal(done.photo.pixels, photo.pixels)


def test_200_faces_are_restored(restore: Any) -> None:
    photo = Photo.of_pixels(np.full((420, 820, 3), 20, np.uint8))
    faces = [face_at(40 * i + 30, 40 * j + 30, 20) for j in range(10) for i in range(20)]
    done = restore(photo, *faces, max_faces=150, crops=False)
    said = [(face.status, face.reason) for face in done.faces]
    assert said.count(("restored", None)) == 150
    assert said.count(("skipped", "over-cap")) == 50
    for face in done.faces:
        x, y = (round(value) for value in face.landmarks[2])
        assert (done.photo.pixels[y, x].min() > 200) == (face.status == "restored")


def test_faces_below_the_threshold_are_reported_last(restore: Any) -> None:
    photo = Photo.of_pixels(noise(200, 200))
    unsure, sure = face_at(40, 40, 30, score=0.6), face_at(150, 150, 30, score=0.95)
    shadow = replace(sure, score=0.55)  # the same face once more
    done = restore(photo, unsure, sure, shadow)
    said = [(face.score, face.status, face.reason) for face in done.faces]
    assert said == [(0.95, "restored", None), (0.6, "skipped", "low-score")]
    assert done.warnings == ()
    alone = restore(photo, unsure)
    np.testing.assert_array_equal(alone.photo.pixels, photo.pixels)
    assert "No face was found" in alone.warnings[0]
    assert "too uncertain" in alone.warnings[1]


def test_a_sharp_face_is_kept_and_has_that_reason(
    restorer_doing: MakeRestorer, astronaut_pixels: NDArray[np.uint8]
) -> None:
    restorer = restorer_doing(white)
    sharp = Photo.of_pixels(astronaut_pixels)
    done = restorer.restore(sharp, FaceOptions())
    assert [(face.status, face.reason) for face in done.faces] == [("skipped", "already-sharp")]
    assert "1 face is left as before: sharp already." in done.warnings
    np.testing.assert_array_equal(done.photo.pixels, sharp.pixels)
    blurred = Photo.of_pixels(np.asarray(cv2.GaussianBlur(astronaut_pixels, (0, 0), 4), np.uint8))
    done = restorer.restore(blurred, FaceOptions())
    assert [(face.status, face.reason) for face in done.faces] == [("restored", None)]


class Blind(FaceParser):
    """A parser that finds no face, or a face only in the left part."""

    def __init__(self, left: float) -> None:
        self._left = left

    def mask(self, crop: NDArray[np.uint8]) -> NDArray[np.float32]:
        mask = np.zeros(crop.shape[:2], np.float32)
        mask[:, : len(crop) // 2] = self._left
        return mask


def test_only_what_the_parser_sees_is_pasted(restore: Any) -> None:
    photo = Photo.of_pixels(np.full((200, 200, 3), 20, np.uint8))
    done = restore(photo, face_at(100, 100, 80), parser=Blind(1.0))
    changed = (done.photo.pixels != 20).any(2)
    assert changed[100, 60:95].all()
    assert not changed[:, 105:].any()


def test_a_face_that_the_parser_does_not_see_fails(restore: Any) -> None:
    photo = Photo.of_pixels(noise(200, 200))
    done = restore(photo, face_at(100, 100, 80), parser=Blind(0.0))
    assert [(face.status, face.reason) for face in done.faces] == [("failed", "not-parsed")]
    np.testing.assert_array_equal(done.photo.pixels, photo.pixels)


@pytest.mark.parametrize("level", [0, 255])
@pytest.mark.parametrize("aligned", [False, True])
def test_a_plain_photo_is_returned_unchanged(
    restorer_doing: MakeRestorer, level: int, aligned: bool
) -> None:
    photo = Photo.of_pixels(np.full((100, 100, 3), level, np.uint8))
    options = FaceOptions(aligned=aligned, keep_colour=True, post_filter=True)
    done = restorer_doing(unchanged).restore(photo, options)
    assert np.abs(done.photo.pixels.astype(int) - level).max() <= 1
    assert len(done.faces) == aligned


@pytest.mark.parametrize(
    "pixels",
    [
        np.full((20, 20, 3), np.nan, np.float32),
        np.full((20, 20, 3), np.inf),
        np.zeros((20, 20), np.float32),
        np.zeros((20, 20, 1), np.uint8),
        np.zeros((20, 20, 4), np.uint8),
        np.zeros((0, 20, 3), np.uint8),
        np.zeros((20, 20, 3), np.int64),
        [[1, 2, 3]],
    ],
)
def test_pixels_of_another_kind_are_refused(pixels: Any) -> None:
    with pytest.raises(UnsupportedImage, match="uint8"):
        Photo.of_pixels(pixels)


@pytest.mark.parametrize(
    "beside",
    [
        {"alpha": np.zeros((20, 21), np.uint8)},
        {"alpha": np.zeros((20, 20), np.float32)},
        {"deep": np.zeros((20, 20, 3), np.uint8)},
        {"deep": np.zeros((20, 20, 4), np.uint16)},
    ],
)
def test_alpha_or_colours_that_do_not_fit_the_pixels_are_refused(beside: Any) -> None:
    with pytest.raises(UnsupportedImage):
        Photo(np.zeros((20, 20, 3), np.uint8), **beside)


def test_the_same_photo_gives_the_same_bytes(
    models_dir: Path, astronaut_pixels: NDArray[np.uint8]
) -> None:
    files = []
    for _ in range(2):
        restorer = load_restorer("tiny", models_dir=models_dir, device="cpu", backend="torch")
        photo = Photo.of_pixels(astronaut_pixels[:260, 100:360])
        files.append(encode(restorer.restore(photo, asked(seed=5)).photo, "png", 95))
        restorer.close()
    assert files[0] == files[1]


def test_strength_0_does_not_run_the_network(restore: Any) -> None:
    runs: list[Tensor] = []

    def count(faces: Tensor) -> Tensor:
        runs.append(faces)
        return faces

    photo = Photo.of_pixels(noise(160, 200))
    done = restore(photo, *CROWD, change=count, strength=0.0)
    assert runs == []
    assert {(face.status, face.reason) for face in done.faces} == {("skipped", "strength-zero")}
    np.testing.assert_array_equal(done.photo.pixels, photo.pixels)
