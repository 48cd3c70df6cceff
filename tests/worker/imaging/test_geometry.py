from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.engine.faces.paste_mask import face_mask
from worker.imaging.geometry import (
    TEMPLATES,
    Affine,
    crop,
    fit_square,
    inverse,
    region_of,
    scale_of,
    similarity,
    smooth,
    template_points,
    transform,
    uncrop,
)


def turn_and_scale(degrees: float, scale: float, x: float, y: float) -> Affine:
    c, s = scale * np.cos(np.radians(degrees)), scale * np.sin(np.radians(degrees))
    return np.array([[c, -s, x], [s, c, y]])


def smooth_photo(height: int, width: int) -> np.ndarray:
    y, x = np.mgrid[0:height, 0:width]
    waves = [127 + 100 * np.sin(x / 17 + k) * np.cos(y / 23 - k) for k in range(3)]
    return np.stack(waves, 2).round().astype(np.uint8)


@given(
    degrees=st.floats(-180, 180),
    scale=st.floats(0.01, 100),
    x=st.floats(-1e4, 1e4),
    y=st.floats(-1e4, 1e4),
)
def test_a_similarity_is_found_again(degrees: float, scale: float, x: float, y: float) -> None:
    affine = turn_and_scale(degrees, scale, x, y)
    points = TEMPLATES["ffhq"]
    np.testing.assert_allclose(similarity(points, transform(points, affine)), affine, atol=1e-6)


def test_the_best_similarity_never_mirrors() -> None:
    points = TEMPLATES["ffhq"]
    affine = similarity(points * [-1, 1], points)
    assert np.linalg.det(affine[:, :2]) > 0


def test_no_other_similarity_is_closer() -> None:
    source, target = np.random.default_rng(1).normal(size=(2, 5, 2))
    best = similarity(source, target)

    def distance(affine: Affine) -> float:
        return float(((transform(source, affine) - target) ** 2).sum())

    for step in np.random.default_rng(2).normal(scale=0.01, size=(50, 4)):
        other = best + np.array([[step[0], -step[1], step[2]], [step[1], step[0], step[3]]])
        assert distance(other) >= distance(best)


def test_points_on_one_spot_still_give_something_invertible() -> None:
    affine = similarity(np.full((5, 2), 7.0), TEMPLATES["gpen"])
    assert np.isfinite(inverse(affine)).all()


def test_the_two_templates_differ_in_scale() -> None:
    """Half again as much of the photo is in a crop by the GPEN template."""
    ffhq, gpen = (np.ptp(TEMPLATES[name], axis=0) for name in ("ffhq", "gpen"))
    assert 1.05 < (ffhq / gpen).mean() < 1.3


@pytest.mark.parametrize("template", ["ffhq", "gpen"])
def test_landmarks_land_on_the_template(template: str) -> None:
    eyes = template_points(template, 256)[:2]
    np.testing.assert_allclose(eyes, TEMPLATES[template][:2] / 2)


@pytest.mark.parametrize(
    ("scale", "degrees"), [(4.0, 0), (1.3, 20), (0.9, -30), (0.4, 10), (0.1, 5)]
)
def test_a_crop_shows_what_the_affine_says(scale: float, degrees: float) -> None:
    photo = smooth_photo(1500, 1600)
    affine = turn_and_scale(degrees, scale, 0, 0)
    affine[:, 2] = 32 - affine[:, :2] @ [800, 750]
    seen = crop(photo, affine, 64)
    for at in np.random.default_rng(0).uniform(8, 56, size=(20, 2)).round():
        x, y = transform(at[None], inverse(affine))[0]
        if scale >= 0.9:
            expected = photo[round(y), round(x)].astype(int)
            assert np.abs(seen[int(at[1]), int(at[0])] - expected).max() <= 12


@pytest.mark.parametrize("scale", [0.05, 0.3, 0.7])
def test_shrinking_averages_instead_of_skipping_pixels(scale: float) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (2000, 2000, 3)).astype(np.uint8)
    affine = turn_and_scale(15, scale, 0, 0)
    affine[:, 2] = 32 - affine[:, :2] @ [1000, 1000]
    seen = crop(noise, affine, 64)[16:48, 16:48]
    assert seen.std() < 74 * scale * 1.6
    assert abs(seen.mean() - 127.5) < 4


def test_a_straight_crop_is_the_photo_itself() -> None:
    photo = smooth_photo(100, 120)
    affine = np.array([[1.0, 0, -10], [0, 1, -20]])
    np.testing.assert_array_equal(crop(photo, affine, 64), photo[20:84, 10:74])


def test_beyond_the_border_the_photo_is_mirrored() -> None:
    photo = smooth_photo(100, 120)
    seen = crop(photo, np.array([[1.0, 0, 8], [0, 1, 0]]), 64)
    np.testing.assert_array_equal(seen[:, :8], photo[:64, 8:0:-1])


@pytest.mark.parametrize("scale", [5.0, 1.4, 0.9, 0.3])
def test_a_crop_brought_back_lies_where_it_was(scale: float) -> None:
    photo = smooth_photo(300, 320)
    affine = turn_and_scale(25, scale, 0, 0)
    affine[:, 2] = 64 - affine[:, :2] @ [160, 150]
    back = uncrop(crop(photo, affine, 128).astype(np.float32), affine, (152, 142, 168, 158))
    assert np.abs(back - photo[142:158, 152:168]).max() <= 3


@pytest.mark.parametrize(("height", "width"), [(64, 64), (40, 100), (500, 90)])
def test_a_whole_photo_fits_a_square(height: int, width: int) -> None:
    corners = np.array([(-0.5, -0.5), (width - 0.5, height - 0.5)])
    (x0, y0), (x1, y1) = transform(corners, fit_square(height, width, 64))
    assert max(x1 - x0, y1 - y0) == pytest.approx(64)
    assert (x0 + x1, y0 + y1) == pytest.approx((63, 63))


def test_a_photo_of_the_crops_size_is_not_resampled() -> None:
    photo = smooth_photo(64, 64)
    np.testing.assert_array_equal(crop(photo, fit_square(64, 64, 64), 64), photo)


def test_the_region_holds_every_pixel_the_mask_touches() -> None:
    mask = face_mask(template_points("ffhq", 128), 128)
    affine = turn_and_scale(-40, 0.7, 30, 90)
    x0, y0, x1, y1 = region_of(mask, affine, (400, 300, 3))
    whole = uncrop(mask, affine, (0, 0, 300, 400))
    whole[y0:y1, x0:x1] = 0
    assert np.abs(whole).max() < 0.004  # less than one step of 255


def test_a_mask_outside_the_photo_has_no_region() -> None:
    mask = face_mask(template_points("ffhq", 64), 64)
    x0, y0, x1, y1 = region_of(mask, np.array([[1.0, 0, 5000], [0, 1, 5000]]), (100, 100, 3))
    assert x0 >= x1 or y0 >= y1
    assert region_of(np.zeros((64, 64), np.float32), np.eye(2, 3), (9, 9)) == (0, 0, 0, 0)


def test_smoothing_is_the_binomial_kernel() -> None:
    spot = np.zeros((5, 5, 3), np.float32)
    spot[2, 2] = 16
    np.testing.assert_allclose(smooth(spot)[1:4, 1:4, 0], [[1, 2, 1], [2, 4, 2], [1, 2, 1]])


def test_scale_is_crop_pixels_per_photo_pixel() -> None:
    assert scale_of(turn_and_scale(33, 2.5, 4, 5)) == pytest.approx(2.5)


def test_the_arcface_template_is_that_of_insightface_moved_by_eight_pixels() -> None:
    eyes_nose_mouth = [
        (38.2946, 51.6963),
        (73.5318, 51.5014),
        (56.0252, 71.7366),
        (41.5493, 92.3655),
        (70.7299, 92.2041),
    ]
    expected = np.add(eyes_nose_mouth, [8, 0])
    np.testing.assert_allclose(template_points("arcface", 128), expected, atol=1e-4)
