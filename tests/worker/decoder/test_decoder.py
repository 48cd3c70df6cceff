"""The decoder's door: the same answers as in our own process, whatever happens to its processes."""

from __future__ import annotations

import os
import resource
import struct
import subprocess
import sys
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageCms

from shared.errors import CorruptImage, FacemendError, InputTooLarge, Unavailable
from tests.worker.engine.photos import (
    animated,
    chunk,
    file_of,
    gradient,
    ink_profile,
    png_bomb,
    png_of,
    turned,
)
from worker.decoder import Bounds, Decoder, photo_of
from worker.imaging.decode import Photo, decode
from worker.imaging.limits import Limits

RNG = np.random.default_rng(8)
SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
NOISE = RNG.integers(0, 256, (600, 700, 3), dtype=np.uint8)  # large enough for threads and strips
DEEP = RNG.integers(0, 65_536, (40, 30 * 4)).astype(np.uint16)


def photos() -> dict[str, bytes]:
    """One of each way a photo can be stored that takes a way of its own through the decoder."""
    return {
        **{f"large {kind}": file_of(NOISE, kind) for kind in ("jpeg", "png", "webp", "bmp")},
        **{f"turned {kind}": turned(gradient(), 6, kind) for kind in ("jpeg", "png", "tiff")},
        **{f"animated {kind}": animated(kind) for kind in ("gif", "webp", "png", "tiff", "mpo")},
        **{
            f"TIFF, {how}": file_of(NOISE, "tiff", compression=how)
            for how in ("raw", "tiff_lzw", "tiff_adobe_deflate", "jpeg", "packbits")
        },
        "TIFF, group4": file_of(Image.fromarray(NOISE).convert("1"), "tiff", compression="group4"),
        "progressive": file_of(NOISE, "jpeg", progressive=True, icc_profile=SRGB),
        "lossless WebP": file_of(NOISE, "webp", lossless=True, icc_profile=SRGB),
        "WebP with alpha": file_of(Image.fromarray(NOISE).convert("RGBA"), "webp"),
        "inks": file_of(Image.new("CMYK", (32, 32), (9, 99, 0, 3)), "jpeg"),
        "inks, profile": file_of(
            Image.new("CMYK", (32, 32), (255, 0, 0, 0)), "tiff", icc_profile=ink_profile()
        ),
        "grey and alpha": file_of(Image.fromarray(gradient()).convert("LA"), "png"),
        "palette": file_of(Image.fromarray(gradient()).quantize(16), "png", transparency=0),
        "16 bits": png_of(DEEP[:, :90], 2, 16),
        "16 bits and alpha": png_of(DEEP, 6, 16),
        "broken EXIF": file_of(gradient(), "png", exif=b"Exif\0\0II*\0\xff\xff\xff\xffgarbage"),
        "broken profile": file_of(gradient(), "png", icc_profile=b"no profile at all"),
    }


PHOTOS = photos()
BROKEN = {
    "empty": b"",
    "text": b"only words" * 100,
    "SVG": b"<svg xmlns='http://www.w3.org/2000/svg'/>",
    "a signature": b"\x89PNG\r\n\x1a\n",
    "cut JPEG": file_of(NOISE, "jpeg")[:5000],
    "bomb": png_bomb(20_000),
    "a pixel": file_of(np.zeros((1, 1, 3), np.uint8), "png"),
    "a strip": file_of(np.zeros((1, 20_000), np.uint8), "png"),
    "floats": file_of(np.ones((20, 20), np.float32), "tiff"),
}


def assert_same(one: Photo, other: Photo) -> None:
    for array in ("pixels", "alpha", "deep"):
        np.testing.assert_array_equal(getattr(one, array), getattr(other, array))
    for field in ("icc", "grey", "format", "warnings"):
        assert getattr(one, field) == getattr(other, field)


@pytest.mark.parametrize("name", PHOTOS)
def test_a_photo_is_read_as_in_our_own_process(decoder: Decoder, name: str) -> None:
    with decoder.decode(PHOTOS[name]) as decoded:
        photo = photo_of(decoded)
    assert_same(photo, decode(PHOTOS[name], Limits()))


@pytest.mark.parametrize("name", BROKEN)
def test_a_bad_photo_gives_the_same_error_as_in_our_own_process(
    decoder: Decoder, name: str
) -> None:
    with pytest.raises(FacemendError) as expected:
        decode(BROKEN[name], Limits())
    with pytest.raises(type(expected.value)) as caught:
        decoder.decode(BROKEN[name])
    assert caught.value.detail == expected.value.detail


def test_a_file_over_the_cap_reaches_no_decoder() -> None:
    decoder = Decoder(Limits(max_bytes=100), read="no.such.module:decode")
    with pytest.raises(InputTooLarge, match="100 are allowed"):
        decoder.decode(bytes(101))


def test_the_limits_asked_for_are_kept() -> None:
    with (
        Decoder(Limits(max_pixels=100)) as decoder,
        pytest.raises(FacemendError, match="100 px in all"),
    ):
        decoder.decode(file_of(gradient(), "png"))


def test_what_was_decoded_can_be_changed_by_its_owner_alone(decoder: Decoder) -> None:
    with decoder.decode(file_of(gradient(), "png")) as decoded:
        mine, theirs = photo_of(decoded), photo_of(decoded)
        mine.pixels[:] = 7
        np.testing.assert_array_equal(theirs.pixels, gradient())
        with pytest.raises(PermissionError):
            os.pwrite(decoded.fd, b"x", 70_000)
        with pytest.raises(PermissionError):
            os.ftruncate(decoded.fd, 0)


def test_many_photos_at_once_each_get_their_own(decoder: Decoder) -> None:
    def one(value: int) -> int:
        pixels = np.full((64, 64, 3), value, np.uint8)
        with decoder.decode(file_of(pixels, "png")) as decoded:
            return int(photo_of(decoded).pixels.mean())

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(one, range(64))) == list(range(64))


def test_nothing_is_left_open(decoder: Decoder) -> None:
    def use() -> int:
        with decoder.decode(PHOTOS["large jpeg"]) as decoded:
            photo_of(decoded)
        with pytest.raises(FacemendError):
            decoder.decode(b"text")
        return len(list(Path("/proc/self/fd").iterdir()))

    assert use() == use() == use()


def many_scans(side_px: int, count: int) -> bytes:
    """A progressive JPEG whose last refinement comes again and again: a few KB, endless work."""
    data = file_of(Image.new("L", (side_px, side_px), 99), "jpeg", progressive=True)
    last = data.rindex(b"\xff\xda")
    last = data.rindex(b"\xff\xc4", 0, last)  # with its table
    return data[:-2] + data[last:-2] * count + data[-2:]


def test_a_jpeg_of_thousands_of_scans_is_corrupt() -> None:
    data = many_scans(5000, 20_000)
    assert len(data) < Limits().max_bytes
    with Decoder(Limits(), bounds=Bounds(cpu_s=1, wall_s=30)) as decoder:
        with pytest.raises(CorruptImage, match="in time"):
            decoder.decode(data)
        with decoder.decode(many_scans(500, 10)) as decoded:
            assert decoded.header.width == 500


LARGEST = (7300, 5475)


@pytest.fixture(scope="module")
def patient() -> Iterator[Decoder]:
    """With the usual memory, and time on a machine however busy."""
    with Decoder(Limits(), bounds=Bounds(cpu_s=30, wall_s=30)) as decoder:
        yield decoder


@pytest.mark.parametrize(
    ("mode", "kind", "options"),
    [
        ("RGB", "jpeg", {}),
        ("CMYK", "jpeg", {}),
        ("RGBA", "png", {"compress_level": 1}),
        ("RGB", "webp", {"method": 0}),
        ("RGB", "tiff", {"compression": "tiff_lzw"}),
    ],
)
def test_the_largest_photo_fits(
    patient: Decoder, mode: str, kind: str, options: dict[str, Any]
) -> None:
    with patient.decode(file_of(Image.new(mode, LARGEST), kind, **options)) as decoded:
        assert (decoded.header.width, decoded.header.height) == LARGEST


def test_the_largest_photo_of_16_bits_fits(patient: Decoder) -> None:
    width, height = LARGEST
    packer = zlib.compressobj(1)
    lines = [packer.compress(bytes(1 + width * 8)) for _ in range(height)]
    data = (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 16, 6, 0, 0, 0))
        + chunk(b"IDAT", b"".join(lines) + packer.flush())
        + chunk(b"IEND", b"")
    )
    with patient.decode(data) as decoded:
        assert decoded.header.deep


def test_without_a_free_descriptor_the_photo_is_to_be_tried_again(decoder: Decoder) -> None:
    decoder.start()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    free = os.dup(0)
    os.close(free)
    for room in range(4):  # so that it fails at one place after the other
        resource.setrlimit(resource.RLIMIT_NOFILE, (free + room, hard))
        try:
            with pytest.raises(Unavailable):
                decoder.decode(PHOTOS["palette"])
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    again = os.dup(0)
    os.close(again)
    assert again == free, "nothing is left open"


def test_who_has_the_bytes_loads_no_decoder() -> None:
    heavy = {"numpy", "PIL", "cv2", "torch", "pydantic"}
    script = f"import sys, worker.decoder; print(sorted({heavy} & sys.modules.keys()))"
    answer = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert answer.stdout.strip() == "[]"
