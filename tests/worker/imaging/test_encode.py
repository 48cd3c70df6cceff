from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image, ImageCms

from shared.errors import ImageTooManyPixels
from tests.worker.engine.photos import file_of, gradient, turned
from worker.imaging.decode import Photo, decode
from worker.imaging.encode import comparison, encode, output_format
from worker.imaging.limits import Limits

SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
GREY = np.repeat(gradient()[:, :, :1], 3, axis=2)


def opened(data: bytes) -> Image.Image:
    image = Image.open(io.BytesIO(data))
    image.load()
    return image


def test_png_holds_the_very_pixels() -> None:
    image = opened(encode(Photo.of_pixels(gradient()), "png", 95))
    assert (image.format, image.mode) == ("PNG", "RGB")
    np.testing.assert_array_equal(np.asarray(image), gradient())


@pytest.mark.parametrize("kind", ["jpeg", "webp"])
def test_quality_matters(kind: str) -> None:
    photo = Photo.of_pixels(gradient(200, 200))
    good, poor = (encode(photo, kind, quality) for quality in (95, 20))  # type: ignore[arg-type]
    assert len(good) > len(poor)
    assert np.abs(np.asarray(opened(good).convert("RGB")).astype(int) - photo.pixels).mean() < 6


@pytest.mark.parametrize(("kind", "mode"), [("png", "L"), ("jpeg", "L"), ("webp", "RGB")])
def test_grey_stays_grey(kind: str, mode: str) -> None:
    image = opened(encode(Photo(GREY, grey=True), kind, 95))  # type: ignore[arg-type]
    assert image.mode == mode
    channels = np.asarray(image.convert("RGB")).astype(int)
    assert np.ptp(channels, axis=2).max() <= 1


@pytest.mark.parametrize("kind", ["png", "webp"])
def test_alpha_is_kept_where_the_format_has_it(kind: str) -> None:
    alpha = gradient()[:, :, 1]
    image = opened(encode(Photo(gradient(), alpha=alpha), kind, 95))  # type: ignore[arg-type]
    np.testing.assert_array_equal(np.asarray(image.getchannel("A")), alpha)


def test_a_jpeg_shows_what_was_transparent_on_white() -> None:
    alpha = np.zeros((40, 60), np.uint8)
    image = opened(encode(Photo(gradient(), alpha=alpha), "jpeg", 95))
    assert np.asarray(image).min() > 250


@pytest.mark.parametrize("kind", ["png", "jpeg", "webp"])
def test_the_colour_profile_is_kept(kind: str) -> None:
    image = opened(encode(Photo(gradient(), icc=SRGB), kind, 95))  # type: ignore[arg-type]
    assert image.info["icc_profile"] == SRGB


def test_a_grey_picture_in_a_colour_profile_stays_in_it() -> None:
    image = opened(encode(Photo(GREY, icc=SRGB, grey=True), "png", 95))
    assert (image.mode, image.info["icc_profile"]) == ("RGB", SRGB)


@pytest.mark.parametrize("kind", ["png", "jpeg", "webp"])
def test_nothing_but_pixels_leaves(kind: str) -> None:
    data = file_of(
        Image.open(io.BytesIO(turned(gradient(), 6))), "png", pnginfo=None, xmp=b"<x>secret</x>"
    )
    photo = decode(data, Limits())
    image = opened(encode(photo, kind, 95))  # type: ignore[arg-type]
    assert not image.getexif()
    assert b"secret" not in encode(photo, kind, 95)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("format_", "wanted", "expected"),
    [
        ("jpeg", "same", "jpeg"),
        ("png", "same", "png"),
        ("webp", "same", "webp"),
        ("bmp", "same", "png"),
        ("tiff", "same", "png"),
        ("gif", "same", "png"),
        ("jpeg", "png", "png"),
        ("png", "webp", "webp"),
    ],
)
def test_the_output_format_follows_the_wish_or_the_photo(
    format_: str, wanted: str, expected: str
) -> None:
    photo = Photo(gradient(), format=format_)  # type: ignore[arg-type]
    assert output_format(photo, wanted) == expected


def test_a_side_that_webp_cannot_hold_is_an_error_in_words() -> None:
    with pytest.raises(ImageTooManyPixels, match="16383"):
        encode(Photo.of_pixels(np.zeros((16, 16_384, 3), np.uint8)), "webp", 80)


def test_a_comparison_shows_before_left_and_after_right() -> None:
    before, after = gradient(), 255 - gradient()
    both = comparison(before, after)
    np.testing.assert_array_equal(both[:, :60], before)
    np.testing.assert_array_equal(both[:, -60:], after)
    assert both.shape == (40, 128, 3)
