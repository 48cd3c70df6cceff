from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from shared.errors import JobCanceled, ModelUnavailable, NoFaceFound, OutOfMemory
from tests.worker.engine.conftest import unchanged, white
from worker.engine import FaceOptions, Restorer
from worker.imaging.decode import Photo

MakeRestorer = Callable[..., Restorer]
ASTRONAUT_BOX = (178, 57, 273, 177)
#: The photos here are sharp, and are to be restored all the same.
asked = partial(FaceOptions, skip_sharp=False)


@pytest.fixture
def photo(astronaut_pixels: NDArray[np.uint8]) -> Photo:
    return Photo.of_pixels(astronaut_pixels)


@pytest.fixture
def two_faces(astronaut_pixels: NDArray[np.uint8]) -> Photo:
    """The astronaut twice; the right one at four tenths of the size."""
    canvas = np.full((300, 460, 3), 127, np.uint8)
    canvas[:260, :300] = astronaut_pixels[:260, 100:400]
    small = Image.fromarray(astronaut_pixels[:260, 100:400]).resize((120, 104))
    canvas[100:204, 320:440] = np.asarray(small)
    return Photo.of_pixels(canvas)


def statuses(restoration: object) -> list[tuple[str, str | None]]:
    return [(face.status, face.reason) for face in restoration.faces]  # type: ignore[attr-defined]


def test_a_network_that_changes_nothing_leaves_the_photo(
    restorer_doing: MakeRestorer, two_faces: Photo
) -> None:
    restoration = restorer_doing(unchanged).restore(two_faces, asked())
    assert statuses(restoration) == [("restored", None)] * 2
    difference = restoration.photo.pixels.astype(int) - two_faces.pixels
    assert np.abs(difference).max() <= 1


def test_a_network_that_changes_nothing_leaves_a_group_photo(
    restorer_doing: MakeRestorer, faces_dir: Path
) -> None:
    with Image.open(faces_dir / "solvay-1927.png") as image:
        photo = Photo(np.asarray(image.convert("RGB")), grey=True)
    restoration = restorer_doing(unchanged).restore(photo, asked())
    assert statuses(restoration) == [("restored", None)] * 29
    assert np.abs(restoration.photo.pixels.astype(int) - photo.pixels).max() <= 1


def test_only_the_face_changes(restorer_doing: MakeRestorer, photo: Photo) -> None:
    restoration = restorer_doing(white).restore(photo, asked())
    (face,) = restoration.faces
    np.testing.assert_allclose(face.box, ASTRONAUT_BOX, atol=8)
    y, x = np.nonzero((restoration.photo.pixels != photo.pixels).any(2))
    width, height = face.box[2] - face.box[0], face.box[3] - face.box[1]
    assert face.box[0] - 0.4 * width < x.min() < x.max() < face.box[2] + 0.4 * width
    assert face.box[1] - 0.4 * height < y.min() < y.max() < face.box[3] + 0.4 * height
    nose_x, nose_y = face.landmarks[2]
    assert restoration.photo.pixels[round(nose_y), round(nose_x)].min() > 230


def test_what_lies_beside_the_pixels_is_kept(restorer_doing: MakeRestorer, photo: Photo) -> None:
    alpha = photo.pixels[:, :, 0].copy()
    photo = replace(photo, alpha=alpha, icc=b"icc", format="webp", warnings=("a warning",))
    restoration = restorer_doing(white).restore(photo, asked())
    assert restoration.photo.alpha is alpha
    assert (restoration.photo.icc, restoration.photo.format) == (b"icc", "webp")
    assert restoration.warnings == ("a warning",)


def test_a_grey_photo_stays_grey(restorer_doing: MakeRestorer, photo: Photo) -> None:
    grey = Photo(np.repeat(photo.pixels[:, :, 1:2], 3, axis=2), grey=True)

    def redder(x: Tensor) -> Tensor:
        return x + torch.tensor([0.5, -0.5, 0.1]).view(1, 3, 1, 1)

    restoration = restorer_doing(redder).restore(grey, asked())
    assert (restoration.photo.pixels != grey.pixels).any()
    assert np.ptp(restoration.photo.pixels, axis=2).max() == 0


def test_the_crops_of_a_restored_face_are_shown(restorer_doing: MakeRestorer, photo: Photo) -> None:
    (face,) = restorer_doing(white).restore(photo, asked(strength=0.5)).faces
    assert face.crop_before is not None
    assert face.crop_after is not None
    assert face.crop_before.shape == face.crop_after.shape == (128, 128, 3)
    half = (face.crop_before.astype(float) + 255) / 2
    assert np.abs(face.crop_after - half).max() <= 1


def test_crops_that_nobody_wants_are_not_kept(restorer_doing: MakeRestorer, photo: Photo) -> None:
    (face,) = restorer_doing(white).restore(photo, asked(crops=False)).faces
    assert (face.status, face.crop_before, face.crop_after) == ("restored", None, None)


def test_strength_0_leaves_the_photo(restorer_doing: MakeRestorer, photo: Photo) -> None:
    restoration = restorer_doing(white).restore(photo, asked(strength=0))
    np.testing.assert_array_equal(restoration.photo.pixels, photo.pixels)


def test_every_face_that_is_not_restored_says_why(
    restorer_doing: MakeRestorer, two_faces: Photo
) -> None:
    restorer = restorer_doing(white)
    cases = {
        asked(faces="largest"): [("restored", None), ("skipped", "not-chosen")],
        asked(faces=(1,)): [("skipped", "not-chosen"), ("restored", None)],
        asked(min_face_px=60): [("restored", None), ("skipped", "too-small")],
        asked(max_faces=1): [("restored", None), ("skipped", "over-cap")],
    }
    for options, expected in cases.items():
        restoration = restorer.restore(two_faces, options)
        assert statuses(restoration) == expected
        for face in restoration.faces:
            assert (face.crop_after is not None) == (face.status == "restored")
            nose_x, nose_y = face.landmarks[2]
            is_white = restoration.photo.pixels[round(nose_y), round(nose_x)].min() > 220
            assert is_white == (face.status == "restored")


def test_an_index_that_does_not_exist_is_said(restorer_doing: MakeRestorer, photo: Photo) -> None:
    restoration = restorer_doing(white).restore(photo, asked(faces=(0, 5)))
    assert restoration.warnings == ("There is no face 5: 1 were found, from 0.",)


def test_no_face_changes_nothing_and_says_so(restorer_doing: MakeRestorer) -> None:
    photo = Photo.of_pixels(np.full((100, 100, 3), 90, np.uint8))
    restoration = restorer_doing(white).restore(photo, asked())
    assert restoration.faces == ()
    np.testing.assert_array_equal(restoration.photo.pixels, photo.pixels)
    assert any("No face" in warning for warning in restoration.warnings)


def test_no_face_is_an_error_if_one_was_asked_for(restorer_doing: MakeRestorer) -> None:
    photo = Photo.of_pixels(np.full((100, 100, 3), 90, np.uint8))
    with pytest.raises(NoFaceFound):
        restorer_doing(white).restore(photo, asked(strict=True))


@pytest.mark.parametrize("shape", [(128, 128), (300, 300), (64, 64), (90, 200)])
def test_an_aligned_photo_is_one_face_as_a_whole(
    restorer_doing: MakeRestorer, shape: tuple[int, int]
) -> None:
    photo = Photo.of_pixels(np.full((*shape, 3), 60, np.uint8))
    restoration = restorer_doing(white).restore(photo, asked(aligned=True))
    (face,) = restoration.faces
    assert face.box == (0, 0, shape[1], shape[0])
    assert (face.status, face.score) == ("restored", 1.0)
    assert (restoration.photo.pixels == 255).all()


def test_an_aligned_photo_of_the_networks_size_is_seen_as_it_is(
    restorer_doing: MakeRestorer, photo: Photo
) -> None:
    face_crop = Photo.of_pixels(photo.pixels[50:178, 160:288])
    (face,) = restorer_doing(unchanged).restore(face_crop, asked(aligned=True)).faces
    np.testing.assert_array_equal(face.crop_before, face_crop.pixels)
    np.testing.assert_allclose(np.array(face.landmarks[0]), (48, 59.6), atol=0.5)


def test_progress_tells_stages_and_faces(restorer_doing: MakeRestorer, two_faces: Photo) -> None:
    told: list[tuple[str, int, int | None]] = []
    restoration = restorer_doing(white).restore(two_faces, asked(), lambda *step: told.append(step))
    assert told == [
        ("detecting", 0, None),
        ("restoring", 0, 2),
        ("restoring", 1, 2),
        ("restoring", 2, 2),
        ("pasting", 2, 2),
    ]
    assert set(restoration.timings_ms) == {"detect", "restore", "paste"}


@pytest.mark.parametrize("at", [0, 1, 2, 4])
def test_whoever_is_told_may_stop_it(
    restorer_doing: MakeRestorer, two_faces: Photo, at: int
) -> None:
    restorer = restorer_doing(white)
    told: list[str] = []

    def stop(stage: str, _done: int, _total: int | None) -> None:
        told.append(stage)
        if len(told) > at:
            raise JobCanceled

    with pytest.raises(JobCanceled):
        restorer.restore(two_faces, asked(), stop)
    assert len(told) == at + 1
    assert len(restorer.restore(two_faces, asked()).faces) == 2


def test_a_face_for_which_the_network_gives_no_number_fails_alone(
    restorer_doing: MakeRestorer, two_faces: Photo
) -> None:
    def nothing_for_the_first(x: Tensor) -> Tensor:
        return torch.where(torch.arange(len(x)).view(-1, 1, 1, 1) == 0, torch.nan, x + 0.3)

    restorer = restorer_doing(nothing_for_the_first)
    restoration = restorer.restore(two_faces, asked(faces=(0,)))
    assert statuses(restoration)[0] == ("failed", "not-finite")
    np.testing.assert_array_equal(restoration.photo.pixels, two_faces.pixels)


def short_of_memory(x: Tensor) -> Tensor:
    raise torch.OutOfMemoryError("the device is full")


def test_no_memory_for_any_face_is_an_error(restorer_doing: MakeRestorer, two_faces: Photo) -> None:
    with pytest.raises(OutOfMemory):
        restorer_doing(short_of_memory).restore(two_faces, asked())


def test_a_face_without_memory_fails_and_the_others_are_restored(
    restorer_doing: MakeRestorer, two_faces: Photo
) -> None:
    calls: list[int] = []

    def first_time_short(x: Tensor) -> Tensor:
        calls.append(len(x))
        if len(calls) == 1:
            raise torch.OutOfMemoryError("the device is full")
        return torch.ones_like(x)

    restorer = restorer_doing(first_time_short, max_batch=1)
    restoration = restorer.restore(two_faces, asked())
    assert statuses(restoration) == [("failed", "out-of-memory"), ("restored", None)]


def test_threads_get_their_own_photo_back(restorer_doing: MakeRestorer, photo: Photo) -> None:
    restorer = restorer_doing(lambda x: -x)
    shifts = [-90, -60, -30, 0, 30, 60, 90, 45]
    photos = [
        Photo.of_pixels(np.clip(photo.pixels + np.int16(s), 0, 255).astype(np.uint8))
        for s in shifts
    ]
    expected = [restorer.restore(each, asked()).photo.pixels for each in photos]
    assert len({pixels.tobytes() for pixels in expected}) == len(shifts)
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(lambda each: restorer.restore(each, asked()), photos))
    for restoration, pixels in zip(together, expected, strict=True):
        np.testing.assert_array_equal(restoration.photo.pixels, pixels)


def test_a_crowd_goes_through_in_turns(restorer_doing: MakeRestorer, faces_dir: Path) -> None:
    batches: list[int] = []

    def count(x: Tensor) -> Tensor:
        batches.append(len(x))
        return torch.ones_like(x)

    with Image.open(faces_dir / "solvay-1927.png") as image:
        photo = Photo.of_pixels(np.asarray(image.convert("RGB")))
    restoration = restorer_doing(count, max_batch=4).restore(photo, asked())
    assert statuses(restoration) == [("restored", None)] * 29
    assert sum(batches) == 29
    assert max(batches) <= 4


def test_nothing_is_remembered_for_training(restorer_doing: MakeRestorer, photo: Photo) -> None:
    modes: list[bool] = []

    def note(x: Tensor) -> Tensor:
        modes.append(torch.is_grad_enabled() or not torch.is_inference_mode_enabled())
        return x

    restorer_doing(note).restore(photo, asked())
    assert modes == [False]


def test_warming_up_times_one_face(restorer_doing: MakeRestorer) -> None:
    restorer = restorer_doing(unchanged)
    assert restorer.info.ms_per_face is None
    restorer.warm_up()
    assert restorer.info.ms_per_face is not None


def test_a_closed_restorer_is_unavailable(restorer_doing: MakeRestorer, photo: Photo) -> None:
    restorer = restorer_doing(white)
    restorer.close()
    with pytest.raises(ModelUnavailable):
        restorer.restore(photo, asked())
