"""The file that came, with its coded pixels and nothing about persons."""

from __future__ import annotations

import io
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageCms

from tests.worker.engine.photos import animated, chunk, file_of, gradient, turned
from worker.imaging import png
from worker.imaging.coded_pixels import Kept, is_lossless_webp, jpeg_bits, only_pixels
from worker.imaging.decode import Photo, decode
from worker.imaging.encode import encode_result
from worker.imaging.limits import Limits

NOTHING = Kept(None, None)
SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
SECRET = b"Ada Lovelace, 51.5 N"


def opened(data: bytes) -> Image.Image:
    image = Image.open(io.BytesIO(data))
    image.load()
    return image


def about_persons() -> dict[str, Any]:
    """What Pillow writes into a file besides the picture."""
    exif = Image.Exif()
    exif[0x010E] = SECRET.decode()
    exif.get_ifd(0x8825)[29] = SECRET.decode()  # GPS date
    return {"exif": exif.tobytes(), "xmp": b"<x:xmpmeta>" + SECRET + b"</x:xmpmeta>"}


FILES = {
    "JPEG": file_of(gradient(), "jpeg", quality=60, comment=SECRET, **about_persons()),
    "progressive JPEG": file_of(gradient(), "jpeg", progressive=True, **about_persons()),
    "JPEG with restarts": file_of(gradient(), "jpeg", restart_marker_blocks=2, **about_persons()),
    "grey JPEG": file_of(Image.fromarray(gradient()).convert("L"), "jpeg", **about_persons()),
    "RGB JPEG": file_of(gradient(), "jpeg", keep_rgb=True, **about_persons()),
    "JPEG and what follows": file_of(gradient(), "jpeg", **about_persons()) + SECRET,
    "MPO": animated("mpo"),
    "PNG": file_of(gradient(), "png", **about_persons()),
    "palette PNG": file_of(
        Image.fromarray(gradient()).quantize(16), "png", transparency=0, **about_persons()
    ),
    "WebP": file_of(gradient(), "webp", quality=60, **about_persons()),
    "lossless WebP": file_of(gradient(), "webp", lossless=True, **about_persons()),
    "WebP with alpha": file_of(
        Image.fromarray(gradient()).convert("RGBA"), "webp", **about_persons()
    ),
}


def changed(photo: Photo) -> Photo:
    """The same with another pixel."""
    pixels = photo.pixels.copy()
    pixels[3, 4] ^= 255
    return replace(photo, pixels=pixels)


def format_of(name: str) -> str:
    return "webp" if "WebP" in name else "png" if "PNG" in name else "jpeg"


@pytest.mark.parametrize("name", FILES)
def test_pixels_stay_and_what_is_about_persons_goes(name: str) -> None:
    data = FILES[name]
    kept = only_pixels(data, format_of(name), NOTHING)
    assert kept is not None
    assert SECRET in data or name == "MPO" or "PNG" in name
    assert SECRET not in kept
    assert not opened(kept).getexif()
    assert not {"xmp", "comment", "exif"} & opened(kept).info.keys()
    np.testing.assert_array_equal(
        np.asarray(opened(kept).convert("RGBA")), np.asarray(opened(data).convert("RGBA"))
    )


@pytest.mark.parametrize("name", FILES)
def test_profile_and_resolution_are_put_in(name: str) -> None:
    kept = only_pixels(FILES[name], format_of(name), Kept(SRGB, (600.0, 300.0)))
    assert kept is not None
    photo = decode(kept, Limits())
    assert photo.dpi == pytest.approx((600, 300), abs=0.02)
    assert (photo.icc == SRGB) == (name != "grey JPEG")
    np.testing.assert_array_equal(photo.pixels, decode(FILES[name], Limits()).pixels)


def test_a_file_with_nothing_to_leave_out_stays_byte_for_byte() -> None:
    for kind in ("jpeg", "png", "webp"):
        data = file_of(gradient(), kind)
        assert only_pixels(data, kind, NOTHING) == data


def test_a_thumbnail_in_jfif_goes() -> None:
    data = file_of(gradient(), "jpeg")
    jfif = b"JFIF\0\1\1\0\0\1\0\1\1\1" + SECRET[:3]
    segment = b"\xff\xe0" + (2 + len(jfif)).to_bytes(2, "big") + jfif
    with_thumbnail = data[:2] + segment + data[20:]
    assert only_pixels(with_thumbnail, "jpeg", NOTHING) == data


def test_a_profile_longer_than_one_segment_comes_whole() -> None:
    long = SRGB + bytes(200_000)
    kept = only_pixels(file_of(gradient(), "jpeg"), "jpeg", Kept(long, None))
    assert kept is not None
    assert opened(kept).info["icc_profile"] == long


@pytest.mark.parametrize("kind", ["png", "webp"])
def test_of_several_frames_there_is_no_such_file(kind: str) -> None:
    assert only_pixels(animated(kind), kind, NOTHING) is None


@pytest.mark.parametrize("name", FILES)
def test_a_file_cut_anywhere_raises_nothing(name: str) -> None:
    data = FILES[name]
    for length in range(0, len(data), 7):
        only_pixels(data[:length], format_of(name), NOTHING)
        is_lossless_webp(data[:length])
        jpeg_bits(data[:length])


def test_fill_bytes_cost_no_more_than_their_number() -> None:
    """A search that starts again at each byte would take hours here."""
    for filler in (b"\xff", b"\xff\x00", b"\xff\xd0"):
        data = FILES["JPEG"][:-2] + filler * 5_000_000 + b"\xff\xd9"
        only_pixels(data, "jpeg", NOTHING)
        assert only_pixels(b"\xff\xd8" + filler * 5_000_000, "jpeg", NOTHING) is None


@pytest.mark.parametrize("name", FILES)
def test_an_unchanged_photo_is_stored_as_it_was_coded(name: str) -> None:
    data = FILES[name]
    photo = decode(data, Limits())
    result = encode_result(photo, photo, "same", 50)
    assert result.data == only_pixels(data, format_of(name), NOTHING)
    assert (result.format, result.warnings) == (format_of(name), ())


@pytest.mark.parametrize("name", FILES)
def test_a_changed_photo_is_not(name: str) -> None:
    before = decode(FILES[name], Limits())
    after = changed(before)
    result = encode_result(before, after, "same", 95)
    assert result.data != before.coded
    lossless = "PNG" in name or "lossless" in name
    if lossless:
        np.testing.assert_array_equal(decode(result.data, Limits()).pixels, after.pixels)


@pytest.mark.parametrize("wanted", ["png", "webp"])
def test_another_format_is_coded_anew(wanted: str) -> None:
    photo = decode(FILES["JPEG"], Limits())
    result = encode_result(photo, photo, wanted, 95)
    assert (result.format, opened(result.data).format) == (wanted, wanted.upper())


def test_what_is_coded_anew_without_a_change_says_so() -> None:
    photo = decode(turned(gradient(), 6, "jpeg"), Limits())
    result = encode_result(photo, photo, "same", 95)
    assert opened(result.data).size == (60, 40)
    assert any("written anew" in warning for warning in result.warnings)
    lossless = decode(turned(gradient(), 6, "png"), Limits())
    assert encode_result(lossless, lossless, "same", 95).warnings == ()


def test_a_lossless_webp_stays_lossless_where_nothing_changed() -> None:
    rgba = np.dstack((gradient(), gradient()[:, :, 0]))
    data = file_of(rgba, "webp", lossless=True, exact=True)
    before = decode(data, Limits())
    after = changed(before)
    result = encode_result(before, after, "same", 60)
    assert is_lossless_webp(result.data)
    again = decode(result.data, Limits())
    np.testing.assert_array_equal(again.pixels, after.pixels)
    np.testing.assert_array_equal(again.alpha, rgba[:, :, 3])


def test_a_lossy_webp_is_none() -> None:
    assert not is_lossless_webp(FILES["WebP"])
    assert not is_lossless_webp(FILES["WebP with alpha"])
    assert is_lossless_webp(FILES["lossless WebP"])


def test_chunks_of_one_kind_only_leave_a_png_whole() -> None:
    data = FILES["PNG"]
    at = data.index(b"IDAT") - 4
    private = data[:at] + chunk(b"prVt", SECRET) + chunk(b"tIME", bytes(7)) + data[at:]
    kept = only_pixels(private, "png", NOTHING)
    assert kept is not None
    assert {kind for kind, _ in png.chunks(kept)} == {b"IHDR", b"IDAT", b"IEND"}
