from __future__ import annotations

import numpy as np
import pytest
from PIL import Image, ImageCms

from shared.errors import CorruptImage, ImageTooManyPixels, InputTooLarge, UnsupportedImage
from tests.worker.engine.photos import (
    animated,
    chunk,
    file_of,
    gradient,
    png_bomb,
    turned,
)
from worker.imaging.decode import Photo, decode
from worker.imaging.limits import Limits

LIMITS = Limits()
SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


@pytest.mark.parametrize("kind", ["png", "webp", "bmp", "tiff"])
def test_lossless_files_give_back_their_pixels(kind: str) -> None:
    options = {"lossless": True} if kind == "webp" else {}
    photo = decode(file_of(gradient(), kind, **options), LIMITS)
    np.testing.assert_array_equal(photo.pixels, gradient())
    assert (photo.format, photo.grey, photo.alpha, photo.icc) == (kind, False, None, None)
    assert photo.warnings == ()


def test_a_jpeg_is_read_as_rgb() -> None:
    photo = decode(file_of(np.full((20, 20, 3), (200, 10, 20), np.uint8), "jpeg"), LIMITS)
    assert photo.format == "jpeg"
    assert np.abs(photo.pixels.astype(int) - (200, 10, 20)).max() <= 3


@pytest.mark.parametrize("kind", ["png", "jpeg", "webp", "tiff"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_turned_photo_comes_upright(orientation: int, kind: str) -> None:
    blocks = np.kron(
        np.array([[0, 80, 160], [255, 200, 40]], np.uint8), np.ones((32, 32), np.uint8)
    )
    pixels = np.stack([blocks] * 3, 2)
    photo = decode(turned(pixels, orientation, kind), LIMITS)
    assert photo.pixels.shape == pixels.shape
    np.testing.assert_array_less(
        np.abs(photo.pixels[16::32, 16::32].astype(int) - pixels[16::32, 16::32]), 20
    )


def test_alpha_is_turned_with_its_photo() -> None:
    pixels = np.dstack((gradient(), gradient()[:, :, 0]))
    photo = decode(turned(pixels, 6), LIMITS)
    assert photo.alpha is not None
    np.testing.assert_array_equal(photo.alpha, gradient()[:, :, 0])


def test_broken_exif_says_nothing() -> None:
    photo = decode(file_of(gradient(), "png", exif=b"Exif\0\0II*\0\xff\xff\xff\xffgarbage"), LIMITS)
    np.testing.assert_array_equal(photo.pixels, gradient())


@pytest.mark.parametrize("mode", ["L", "1", "LA"])
def test_a_grey_photo_is_known_as_grey(mode: str) -> None:
    photo = decode(file_of(Image.fromarray(gradient()).convert(mode), "png"), LIMITS)
    assert photo.grey
    assert (photo.alpha is not None) == (mode == "LA")
    assert (photo.pixels[:, :, 0] == photo.pixels[:, :, 2]).all()


def test_a_black_and_white_photo_saved_in_colour_is_grey() -> None:
    pixels = np.repeat(gradient()[:, :, :1], 3, axis=2)
    assert decode(file_of(pixels, "png"), LIMITS).grey


def test_a_palette_with_transparency_keeps_both() -> None:
    image = Image.new("P", (20, 20), 1)
    image.putpalette([0, 0, 0, 250, 20, 30])
    image.putpixel((3, 4), 0)
    photo = decode(file_of(image, "png", transparency=0), LIMITS)
    assert photo.alpha is not None
    assert (photo.alpha[4, 3], photo.alpha[0, 0]) == (0, 255)
    assert tuple(photo.pixels[0, 0]) == (250, 20, 30)


@pytest.mark.parametrize("values", [np.uint32(7), np.float32(0.5)])
def test_samples_whose_range_is_unknown_are_refused(values: np.generic) -> None:
    image = Image.fromarray(
        np.full((20, 20), values).astype(np.int32 if values == 7 else np.float32)
    )
    with pytest.raises(UnsupportedImage, match="8-bit"):
        decode(file_of(image, "tiff"), LIMITS)


def test_cmyk_becomes_rgb_and_it_is_said() -> None:
    cyan = Image.new("CMYK", (32, 32), (255, 0, 0, 0))
    photo = decode(file_of(cyan, "jpeg", quality=95), LIMITS)
    red, green, blue = (int(value) for value in photo.pixels[16, 16])
    assert red < 40
    assert min(green, blue) > 180
    assert photo.icc is None
    assert any("CMYK" in warning for warning in photo.warnings)


def test_a_colour_profile_is_kept() -> None:
    assert decode(file_of(gradient(), "png", icc_profile=SRGB), LIMITS).icc == SRGB


def test_a_damaged_colour_profile_is_dropped_and_it_is_said() -> None:
    photo = decode(file_of(gradient(), "png", icc_profile=b"no profile at all"), LIMITS)
    assert photo.icc is None
    assert any("damaged" in warning for warning in photo.warnings)


def test_a_colour_profile_on_grey_pixels_is_dropped_and_it_is_said() -> None:
    photo = decode(
        file_of(Image.fromarray(gradient()).convert("L"), "png", icc_profile=SRGB), LIMITS
    )
    assert photo.icc is None
    assert any("RGB" in warning for warning in photo.warnings)


@pytest.mark.parametrize("kind", ["gif", "webp", "png", "tiff", "mpo"])
def test_of_several_frames_the_first_is_used_and_it_is_said(kind: str) -> None:
    photo = decode(animated(kind), LIMITS)
    assert np.abs(photo.pixels.astype(int) - gradient()).mean() < 30
    assert any("first" in warning for warning in photo.warnings)


@pytest.mark.parametrize(
    "data",
    [b"", b"hello", b"<html></html>", b"<svg/>", b"%PDF-1.7", b"PK\3\4", b"BMW is not a bitmap"],
)
def test_what_is_not_an_image_is_unsupported(data: bytes) -> None:
    with pytest.raises(UnsupportedImage):
        decode(data, LIMITS)


@pytest.mark.parametrize("kind", ["ico", "ppm", "jpeg2000", "tga"])
def test_other_image_formats_are_unsupported_and_the_taken_ones_named(kind: str) -> None:
    with pytest.raises(UnsupportedImage, match="JPEG, PNG, WebP"):
        decode(file_of(gradient(32, 32), kind), LIMITS)


@pytest.mark.parametrize("kind", ["png", "jpeg", "webp", "tiff", "bmp"])
def test_a_file_cut_anywhere_is_corrupt(kind: str) -> None:
    data = file_of(gradient(), kind)
    for length in range(24, len(data), max(1, len(data) // 60)):
        with pytest.raises(CorruptImage):
            decode(data[:length], LIMITS)


def test_a_png_without_its_last_bytes_is_corrupt() -> None:
    data = file_of(gradient(), "png")
    for missing in range(1, 30):
        with pytest.raises(CorruptImage):
            decode(data[:-missing], LIMITS)


def test_a_header_alone_is_corrupt() -> None:
    for start in (
        b"\xff\xd8\xff\xe0",
        b"\x89PNG\r\n\x1a\n",
        b"GIF89a",
        b"II*\0",
        b"RIFF\0\0\0\0WEBP",
    ):
        with pytest.raises(CorruptImage):
            decode(start, LIMITS)


def test_a_wrong_checksum_is_corrupt() -> None:
    data = bytearray(file_of(gradient(), "png"))
    data[data.index(b"IDAT") + 10] ^= 1
    with pytest.raises(CorruptImage):
        decode(bytes(data), LIMITS)


def test_a_text_bomb_is_corrupt() -> None:
    import zlib

    data = file_of(gradient(), "png")
    at = data.index(b"IDAT") - 4
    bomb = chunk(b"zTXt", b"k\0\0" + zlib.compress(bytes(200_000_000), 9))
    with pytest.raises(CorruptImage):
        decode(data[:at] + bomb + data[at:], LIMITS)


def test_a_bomb_of_pixels_is_refused_by_its_header() -> None:
    data = png_bomb(20_000)
    assert len(data) < 100_000
    with pytest.raises(ImageTooManyPixels):
        decode(data[:100], LIMITS)  # what follows the header is not even there


def test_a_bomb_below_the_decoders_own_alarm_is_refused_too() -> None:
    with pytest.raises(ImageTooManyPixels, match="7000 x 7000"):
        decode(png_bomb(7000), LIMITS)


def test_a_long_strip_has_too_many_pixels() -> None:
    with pytest.raises(ImageTooManyPixels):
        decode(file_of(np.zeros((1, 20_000), np.uint8), "png"), LIMITS)


@pytest.mark.parametrize(
    ("shape", "words"), [((1, 1), "least"), ((15, 40), "least"), ((20, 500), "times")]
)
def test_too_small_or_too_thin_is_unsupported(shape: tuple[int, int], words: str) -> None:
    with pytest.raises(UnsupportedImage, match=words):
        decode(file_of(np.zeros(shape, np.uint8), "png"), LIMITS)


def test_a_file_over_the_cap_is_not_opened() -> None:
    with pytest.raises(InputTooLarge, match="100 are allowed"):
        decode(bytes(101), Limits(max_bytes=100))


def test_bare_pixels_make_a_photo() -> None:
    photo = Photo.of_pixels(gradient())
    assert (photo.alpha, photo.icc, photo.grey, photo.format) == (None, None, False, "png")
