"""16 bits a channel: read whole, kept where nothing is pasted, written whole."""

from __future__ import annotations

import io
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageCms

from shared.errors import CorruptImage
from tests.worker.engine.photos import chunk, file_of, gradient, png_of
from worker.imaging.decode import Photo, decode
from worker.imaging.encode import encode
from worker.imaging.limits import Limits
from worker.imaging.sixteen_bit import rounded

LIMITS = Limits()
RNG = np.random.default_rng(5)
#: PNG's colour types and how many samples a pixel has in them.
KINDS = pytest.mark.parametrize(("colour_type", "channels"), [(0, 1), (2, 3), (4, 2), (6, 4)])


def samples_of(height: int, width: int, channels: int) -> NDArray[np.uint16]:
    return RNG.integers(0, 65_536, (height, width, channels)).astype(np.uint16)


def tiff_of(samples: NDArray[Any], *options: int) -> bytes:
    done, data = cv2.imencode(".tiff", samples, options)
    assert done
    return data.tobytes()


@KINDS
def test_a_png_gives_all_its_bits(colour_type: int, channels: int) -> None:
    samples = samples_of(30, 20, channels)
    photo = decode(png_of(samples.reshape(30, -1), colour_type, 16), LIMITS)
    expected = samples[:, :, {1: [0, 0, 0], 2: [0, 0, 0, 1]}.get(channels, slice(None))]
    assert photo.deep is not None
    np.testing.assert_array_equal(photo.deep, expected)
    np.testing.assert_array_equal(photo.pixels, (expected[:, :, :3] / 257).round())
    assert (photo.alpha is not None) == (channels in {2, 4})
    assert photo.grey == (channels < 3)
    assert photo.warnings == ()


@KINDS
def test_a_png_comes_out_as_it_went_in(colour_type: int, channels: int) -> None:
    samples = samples_of(300, 20, channels)  # more rows than are packed at a time
    photo = decode(png_of(samples.reshape(300, -1), colour_type, 16), LIMITS)
    written = encode(photo, "png", 95)
    assert written[24:26] == bytes((16, colour_type))  # what the header says
    again = decode(written, LIMITS)
    np.testing.assert_array_equal(again.deep, photo.deep)
    np.testing.assert_array_equal(again.pixels, photo.pixels)


@pytest.mark.parametrize("compression", [1, 5, 8])  # none, LZW, deflate
@pytest.mark.parametrize("order", [[2, 1, 0], [2, 1, 0, 3]])
def test_a_tiff_gives_all_its_bits(order: list[int], compression: int) -> None:
    samples = samples_of(30, 20, len(order))
    photo = decode(tiff_of(samples, cv2.IMWRITE_TIFF_COMPRESSION, compression), LIMITS)
    np.testing.assert_array_equal(photo.deep, samples[:, :, order])
    assert (photo.format, photo.warnings) == ("tiff", ())


def test_a_grey_tiff_gives_all_its_bits() -> None:
    samples = samples_of(30, 20, 1)[:, :, 0]
    photo = decode(file_of(Image.fromarray(samples), "tiff"), LIMITS)
    assert photo.deep is not None
    np.testing.assert_array_equal(photo.deep[:, :, 1], samples)
    assert photo.grey


def test_what_cannot_be_had_in_16_bits_is_said() -> None:
    keyed = png_of(samples_of(20, 20, 3).reshape(20, -1), 2, 16)
    at = keyed.index(b"IDAT") - 4
    photo = decode(keyed[:at] + chunk(b"tRNS", bytes(6)) + keyed[at:], LIMITS)
    assert photo.deep is None
    assert any("16 bits" in warning for warning in photo.warnings)


def test_a_turned_photo_comes_upright() -> None:
    samples = samples_of(30, 20, 3)
    turned = png_of(samples.reshape(30, -1), 2, 16)
    exif = Image.Exif()
    exif[0x0112] = 6
    at = turned.index(b"IDAT") - 4
    data = turned[:at] + chunk(b"eXIf", exif.tobytes()[6:]) + turned[at:]
    np.testing.assert_array_equal(decode(data, LIMITS).deep, np.rot90(samples, -1))


@KINDS
def test_a_file_cut_anywhere_is_corrupt(colour_type: int, channels: int) -> None:
    data = png_of(samples_of(20, 20, channels).reshape(20, -1), colour_type, 16)
    for length in range(40, len(data), max(1, len(data) // 20)):
        with pytest.raises(CorruptImage):
            decode(data[:length], LIMITS)


@pytest.mark.parametrize(("kind", "bits"), [("jpeg", "RGB"), ("webp", "RGB")])
def test_other_formats_get_the_nearest_8(kind: Any, bits: str) -> None:
    deep = np.repeat(np.repeat(samples_of(2, 2, 3), 16, 0), 16, 1)
    image = Image.open(io.BytesIO(encode(Photo(rounded(deep), deep=deep), kind, 100)))
    assert image.mode == bits


def test_a_colour_profile_is_kept() -> None:
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    deep = samples_of(20, 20, 3)
    written = encode(Photo(rounded(deep), deep=deep, icc=srgb), "png", 95)
    assert decode(written, LIMITS).icc == srgb


def test_rounding_is_to_the_nearest() -> None:
    every = np.arange(65_536, dtype=np.uint16)[:, None]
    np.testing.assert_array_equal(rounded(every), (every / 257).round())


def test_8_bits_stay_8() -> None:
    assert decode(file_of(gradient(), "png"), LIMITS).deep is None
