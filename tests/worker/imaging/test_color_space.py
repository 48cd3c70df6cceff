"""Colours told otherwise than by a profile come out as the same colours."""

from __future__ import annotations

import io
import struct
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageCms

from tests.worker.engine.photos import chunk, file_of, gradient
from tests.worker.imaging.tiff_files import RATIONAL, RGB, Layout, tiff_of
from worker.imaging import png
from worker.imaging.color_space import (
    ADOBE_RGB,
    BMP_COLOURS_DROPPED,
    TONE_CURVE_DROPPED,
    UNCALIBRATED,
)
from worker.imaging.decode import Photo, decode
from worker.imaging.encode import encode, encode_result
from worker.imaging.limits import Limits

LIMITS = Limits()
SRGB = ImageCms.createProfile("sRGB")
LINEAR = chunk(b"gAMA", struct.pack(">I", 100_000))
P3_POINTS = (31_270, 32_900, 68_000, 32_000, 26_500, 69_000, 15_000, 6_000)
P3 = chunk(b"cHRM", struct.pack(">8I", *P3_POINTS))
P3_BY_CODE = chunk(b"cICP", bytes((12, 13, 0, 1)))
HDR = chunk(b"cICP", bytes((9, 16, 0, 1)))
USUAL = chunk(b"gAMA", struct.pack(">I", 45_455))


def exif_of(color_space: int, index: str = "") -> bytes:
    exif = Image.Exif()
    inner = exif.get_ifd(0x8769)
    inner[0xA001] = color_space
    if index:
        inner[0xA005] = {1: index, 2: b"0100"}
    return exif.tobytes()


def png_with(*chunks: bytes, pixels: NDArray[np.uint8] | Image.Image | None = None) -> bytes:
    data = file_of(gradient() if pixels is None else pixels, "png")
    at = data.index(b"IDAT") - 4
    return data[:at] + b"".join(chunks) + data[at:]


def in_srgb(photo: Photo) -> NDArray[Any]:
    assert photo.icc is not None
    profile = ImageCms.ImageCmsProfile(io.BytesIO(photo.icc))
    shown = ImageCms.profileToProfile(
        Image.fromarray(photo.pixels), profile, SRGB, outputMode="RGB"
    )
    return np.asarray(shown).astype(int)


@pytest.mark.parametrize("kind", ["jpeg", "webp", "png"])
@pytest.mark.parametrize("exif", [exif_of(65_535, "R03"), exif_of(2)], ids=["R03", "2"])
def test_adobe_rgb_stated_by_exif_gets_a_profile(kind: str, exif: bytes) -> None:
    photo = decode(file_of(gradient(), kind, exif=exif), LIMITS)
    assert photo.icc == ADOBE_RGB.profile(grey=False)
    result = encode_result(photo, photo, "same", 95)
    with Image.open(io.BytesIO(result.data)) as image:
        assert image.info["icc_profile"] == photo.icc
        assert not image.getexif()
    assert result.warnings == ()


def test_so_does_a_tiff() -> None:
    data = file_of(gradient(), "tiff", exif=exif_of(2))
    assert decode(data, LIMITS).icc == ADOBE_RGB.profile(grey=False)


def test_a_profile_of_the_file_comes_before_exif() -> None:
    profile = ImageCms.ImageCmsProfile(SRGB).tobytes()
    data = file_of(gradient(), "jpeg", exif=exif_of(65_535, "R03"), icc_profile=profile)
    assert decode(data, LIMITS).icc == profile


@pytest.mark.parametrize("exif", [exif_of(1), exif_of(1, "R98")], ids=["1", "R98"])
def test_srgb_stated_by_exif_needs_none(exif: bytes) -> None:
    photo = decode(file_of(gradient(), "jpeg", exif=exif), LIMITS)
    assert (photo.icc, photo.warnings) == (None, ())


def test_an_unknown_colour_space_is_a_warning() -> None:
    photo = decode(file_of(gradient(), "jpeg", exif=exif_of(65_535)), LIMITS)
    assert (photo.icc, photo.warnings) == (None, (UNCALIBRATED,))


def test_adobe_rgb_is_what_lcms_calls_it() -> None:
    green = Photo(np.full((20, 20, 3), (0, 255, 0), np.uint8), icc=ADOBE_RGB.profile(grey=False))
    assert in_srgb(green)[0, 0].tolist() == [0, 255, 0]  # beyond sRGB, so clipped
    grey = Photo(np.full((20, 20, 3), 128, np.uint8), icc=ADOBE_RGB.profile(grey=False))
    expected = 255 * (1.055 * ((128 / 255) ** (563 / 256)) ** (1 / 2.4) - 0.055)
    assert np.abs(in_srgb(grey) - expected).max() < 1


@pytest.mark.parametrize(
    "beside", [(LINEAR,), (P3,), (LINEAR, P3), (P3_BY_CODE,), (HDR,), (USUAL,)]
)
@pytest.mark.parametrize("changed", [False, True])
@pytest.mark.parametrize("sixteen_bits", [False, True])
def test_colour_chunks_of_a_png_stay(
    beside: tuple[bytes, ...], changed: bool, sixteen_bits: bool
) -> None:
    before = decode(png_with(*beside), LIMITS)
    pixels = before.pixels.copy()
    pixels[0, 0] ^= np.uint8(changed)
    deep = pixels.astype(np.uint16) * np.uint16(257) if sixteen_bits else None
    after = Photo(
        pixels, deep=deep, icc=before.icc, colour_chunks=before.colour_chunks, coded=before.coded
    )
    result = encode_result(before, after, "same", 95)
    found = dict(png.chunks(result.data))
    for whole in beside:
        assert found[whole[4:8]] == whole[8:-4]
    assert result.warnings == ()


@pytest.mark.parametrize("kind", ["jpeg", "webp"])
def test_gamma_and_primaries_become_a_profile_in_other_formats(kind: Any) -> None:
    photo = decode(png_with(LINEAR), LIMITS)
    with Image.open(io.BytesIO(encode(photo, kind, 95))) as image:
        assert image.info["icc_profile"] == photo.icc
    light = gradient() / 255
    expected = np.where(light <= 0.0031308, light * 12.92, 1.055 * light ** (1 / 2.4) - 0.055)
    assert np.abs(in_srgb(photo) - 255 * expected).max() <= 1


def test_the_code_of_a_space_means_the_same_as_its_points() -> None:
    by_code, by_points = (decode(png_with(one), LIMITS) for one in (P3_BY_CODE, P3))
    assert np.abs(in_srgb(by_code) - in_srgb(by_points)).max() <= 1
    assert np.abs(in_srgb(by_code) - gradient()).max() > 10


def test_grey_pixels_get_a_profile_for_grey() -> None:
    grey = Image.fromarray(gradient()).convert("L")
    photo = decode(png_with(LINEAR, pixels=grey), LIMITS)
    with Image.open(io.BytesIO(encode(photo, "jpeg", 95))) as image:
        assert image.mode == "L"
        profile = ImageCms.ImageCmsProfile(io.BytesIO(image.info["icc_profile"]))
    assert profile.profile.xcolor_space == "GRAY"


@pytest.mark.parametrize(
    "beside",
    [
        chunk(b"sRGB", b"\0"),
        USUAL,
        chunk(b"cICP", bytes((1, 13, 0, 1))),
        chunk(b"gAMA", bytes(4)),
        chunk(b"gAMA", b"\xff\xff\xff\xff"),
        chunk(b"cHRM", bytes(32)),
        chunk(b"cHRM", b"\xff" * 32),
        chunk(b"cICP", b"\1"),
    ],
    ids=repr,
)
def test_srgb_and_nonsense_make_no_profile(beside: bytes) -> None:
    assert decode(png_with(beside), LIMITS).icc is None


def test_colours_that_only_a_png_holds_are_a_warning_elsewhere() -> None:
    photo = decode(png_with(HDR), LIMITS)
    assert encode_result(photo, photo, "png", 95).warnings == ()
    assert any("cICP" in warning for warning in encode_result(photo, photo, "jpeg", 95).warnings)


def test_a_profile_for_grey_that_webp_cannot_hold_is_a_warning() -> None:
    grey = Image.fromarray(gradient()).convert("L")
    photo = decode(png_with(LINEAR, pixels=grey), LIMITS)
    assert any("grey" in warning for warning in encode_result(photo, photo, "webp", 95).warnings)


def bmp_with(kind: bytes, points: bytes) -> bytes:
    """A BMP with a BITMAPV4HEADER."""
    plain = file_of(gradient(), "bmp")
    more = kind[::-1] + points.ljust(48, b"\0")
    header = (108).to_bytes(4, "little") + plain[18:54] + bytes(16) + more
    start = 14 + len(header)
    return plain[:10] + start.to_bytes(4, "little") + header + plain[54:]


@pytest.mark.parametrize(
    ("kind", "points", "warnings"),
    [
        (bytes(4), b"\1", (BMP_COLOURS_DROPPED,)),
        (b"MBED", b"", (BMP_COLOURS_DROPPED,)),
        (b"sRGB", b"", ()),
        (bytes(4), b"", ()),
    ],
)
def test_colours_that_a_bmp_states_are_a_warning(
    kind: bytes, points: bytes, warnings: tuple[str, ...]
) -> None:
    photo = decode(bmp_with(kind, points), LIMITS)
    np.testing.assert_array_equal(photo.pixels, gradient())
    assert photo.warnings == warnings


def test_primaries_of_a_tiff_become_a_profile() -> None:
    share = [numerator for value in P3_POINTS for numerator in (value, 100_000)]
    tags = ((318, RATIONAL, tuple(share[:4])), (319, RATIONAL, tuple(share[4:])))
    values = gradient().astype(np.uint32)
    photo = decode(tiff_of(values, Layout(8, RGB, tags=tags)), LIMITS)
    by_points = decode(png_with(P3, chunk(b"gAMA", struct.pack(">I", 45_455))), LIMITS)
    assert photo.icc is not None
    assert np.abs(in_srgb(photo) - in_srgb(by_points)).max() <= 1


def test_a_tone_curve_of_a_tiff_is_a_warning() -> None:
    tags = ((301, 3, tuple(range(0, 65_536, 256))),)
    photo = decode(tiff_of(gradient().astype(np.uint32), Layout(8, RGB, tags=tags)), LIMITS)
    assert photo.warnings == (TONE_CURVE_DROPPED,)
