from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.worker.engine.photos import gradient
from worker.engine.faces.pasting import Paster, blend
from worker.imaging.decode import Photo, Pixels
from worker.imaging.geometry import crop, face_mask, similarity, template_points, transform

SIZE = 128
TEMPLATE = template_points("ffhq", SIZE)
NOISE = np.random.default_rng(3).integers(0, 256, (300, 400, 3)).astype(np.uint8)


def face_at(x: float, y: float, scale: float, degrees: float = 10) -> NDArray[np.float64]:
    """Landmarks of a face whose crop would measure SIZE x scale in the photo."""
    angle = np.radians(degrees)
    turn = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    return (TEMPLATE - SIZE / 2) @ turn.T + [x, y]


def paste(
    paster: Paster, photo: Photo, face: NDArray[np.float64], after: Pixels | None, **options: object
) -> None:
    affine = similarity(face, TEMPLATE)
    before = crop(photo.pixels, affine, SIZE)
    mask = face_mask(transform(face, affine), SIZE)
    paster.paste(before, before if after is None else after, mask, affine, **options)  # type: ignore[arg-type]


def flat(value: int | tuple[int, int, int]) -> Pixels:
    return np.full((SIZE, SIZE, 3), value, np.uint8)


@pytest.mark.parametrize("small", [False, True])
@pytest.mark.parametrize("scale", [0.1, 0.5, 0.9, 1.3, 2.5])
def test_a_crop_that_did_not_change_changes_nothing(scale: float, small: bool) -> None:
    photo = Photo.of_pixels(NOISE)
    paster = Paster(photo)
    paste(paster, photo, face_at(200, 150, scale), None, small=small)
    np.testing.assert_array_equal(paster.photo.pixels, NOISE)


@pytest.mark.parametrize("scale", [0.3, 1.0, 2.0])
def test_the_face_changes_and_nothing_outside_the_crop(scale: float) -> None:
    photo = Photo.of_pixels(np.full((300, 400, 3), 50, np.uint8))
    paster = Paster(photo)
    face = face_at(200, 150, scale)
    paste(paster, photo, face, flat(250))
    changed = (paster.photo.pixels != photo.pixels).any(2)
    x, y = face.round().astype(int).T
    assert (paster.photo.pixels[y, x] == 250).all()
    y, x = np.nonzero(changed)
    reach = np.hypot(x - 200, y - 150).max()
    assert reach < SIZE * scale * 0.55
    np.testing.assert_array_equal(photo.pixels, 50)  # the input is not written to


def test_a_grey_photo_stays_grey() -> None:
    photo = Photo(np.full((300, 400, 3), 100, np.uint8), grey=True)
    paster = Paster(photo)
    paste(paster, photo, face_at(200, 150, 1), flat((250, 10, 30)))
    assert (paster.photo.pixels != 100).any()
    assert np.ptp(paster.photo.pixels, axis=2).max() == 0


@pytest.mark.parametrize(("strength", "expected"), [(0.0, 50), (0.25, 100), (1.0, 250)])
def test_strength_is_the_share_of_the_change(strength: float, expected: int) -> None:
    photo = Photo.of_pixels(np.full((300, 400, 3), 50, np.uint8))
    paster = Paster(photo)
    paste(paster, photo, face_at(200, 150, 1), flat(250), strength=strength)
    assert int(paster.photo.pixels[150, 200, 0]) == expected
    assert (blend(flat(50), flat(250), strength) == expected).all()


def test_of_overlapping_faces_the_larger_mask_wins_whatever_the_order() -> None:
    photo = Photo.of_pixels(np.full((300, 400, 3), 50, np.uint8))
    faces = [(face_at(180, 150, 1), flat(250)), (face_at(230, 150, 1), flat(150))]
    results = []
    for order in (faces, faces[::-1]):
        paster = Paster(photo)
        for face, after in order:
            paste(paster, photo, face, after)
        results.append(paster.photo.pixels)
    assert results[0][150, 170, 0] == 250
    assert results[0][150, 240, 0] == 150
    tied = results[0] != results[1]  # where both masks are alike, the first one stays
    assert (results[0][tied] > results[1][tied]).all()
    assert tied.mean() < 0.01


def test_faces_over_the_border_are_pasted_where_the_photo_is() -> None:
    photo = Photo.of_pixels(np.full((300, 400, 3), 50, np.uint8))
    paster = Paster(photo)
    paste(paster, photo, face_at(0, 150, 1), flat(250))
    paste(paster, photo, face_at(4000, 4000, 1), flat(250))
    assert paster.photo.pixels[150, 0, 0] == 250
    assert (paster.photo.pixels[:, 100:] == 50).all()


def test_small_faces_are_calmed() -> None:
    photo = Photo.of_pixels(np.full((300, 400, 3), 128, np.uint8))
    checks = flat(128)
    checks[::2, ::2], checks[1::2, 1::2] = 255, 255
    results = []
    for small in (False, True):
        paster = Paster(photo)
        paste(paster, photo, face_at(200, 150, 1, degrees=0), checks, small=small)
        results.append(paster.photo.pixels[140:160, 190:210].astype(float).std())
    assert results[1] < results[0] / 4


def test_detail_finer_than_the_crop_survives() -> None:
    photo = Photo.of_pixels(NOISE)
    paster = Paster(photo)
    face = face_at(200, 150, 2.2)
    affine = similarity(face, TEMPLATE)
    brighter = (crop(NOISE, affine, SIZE) * 0.5 + 120).round().astype(np.uint8)
    paste(paster, photo, face, brighter)
    inside = paster.photo.pixels[140:160, 190:210].astype(float)
    assert inside.std() > 40
    assert inside.mean() > NOISE[140:160, 190:210].mean() + 20


def test_a_photo_smaller_than_a_face_is_no_trouble() -> None:
    photo = Photo.of_pixels(gradient(20, 20))
    paster = Paster(photo)
    paste(paster, photo, face_at(10, 10, 3), flat(0))
    assert paster.photo.pixels.shape == (20, 20, 3)
