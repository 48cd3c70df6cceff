"""Odd, broken and hostile files through the sandbox: a typed error each, or the right picture."""

from __future__ import annotations

import random
import struct
import zlib
from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image

from shared.errors import CorruptImage, ImageTooManyPixels, InputError, UnsupportedImage
from tests.worker.engine.photos import animated, chunk, file_of, gradient, png_bomb
from worker.decoder import Decoder, photo_of
from worker.decoder import sample_photos as warming
from worker.imaging.decode import Photo
from worker.imaging.encode import OutputFormat, encode

PNG_START = b"\x89PNG\r\n\x1a\n"


def header(width: int, height: int, depth: int = 8, colour_type: int = 2) -> bytes:
    data = struct.pack(">IIBBBBB", width, height, depth, colour_type, 0, 0, 0)
    return PNG_START + chunk(b"IHDR", data)


def png_with(*chunks: tuple[bytes, bytes]) -> bytes:
    """The gradient with more chunks before its pixels."""
    data = file_of(gradient(), "png")
    at = data.index(b"IDAT") - 4
    return data[:at] + b"".join(chunk(kind, content) for kind, content in chunks) + data[at:]


def damaged(where: bytes, offset: int) -> bytes:
    data = bytearray(file_of(gradient(), "png"))
    data[data.index(where) + offset] ^= 1
    return bytes(data)


def paletted(*chunks: tuple[bytes, bytes]) -> bytes:
    """A PNG of palette indexes with these chunks before its pixels."""
    pixels = (b"IDAT", zlib.compress(bytes(21 * 20)))
    rest = b"".join(chunk(kind, content) for kind, content in (*chunks, pixels, (b"IEND", b"")))
    return header(20, 20, 8, 3) + rest


UNSUPPORTED = {
    "nothing": b"",
    "a text": b"only words" * 100,
    "HTML": b"<!DOCTYPE html><html></html>",
    "SVG": b"<svg xmlns='http://www.w3.org/2000/svg'/>",
    "PDF": b"%PDF-1.7\n" + bytes(500),
    "ZIP": b"PK\3\4" + bytes(500),
    "MP4": b"\0\0\0\x18ftypmp42" + bytes(500),
    "EXE": b"MZ\x90\0" + bytes(500),
    "PSD": b"8BPS\0\1" + bytes(500),
    "HEIC": b"\0\0\0\x18ftypheic" + bytes(500),
    "JPEG 2000": file_of(gradient(32, 32), "jpeg2000"),
    "ICO": file_of(gradient(32, 32), "ico"),
    "TGA": file_of(gradient(32, 32), "tga"),
    "one pixel": file_of(gradient(1, 1), "png"),
    "a strip": file_of(gradient(20, 1000), "png"),
    "floats": file_of(np.ones((20, 20), np.float32), "tiff"),
}
CORRUPT = {
    "PNG's signature": PNG_START,
    "PNG's header": header(60, 40),
    "JPEG's start": b"\xff\xd8\xff\xe0\0\x10JFIF",
    "a JPEG cut off": file_of(gradient(200, 200), "jpeg")[:-900],
    "a PNG cut off": file_of(gradient(), "png")[:-5],
    "a wrong checksum": damaged(b"IHDR", 4 + 13),
    "wrong deflate": damaged(b"IDAT", 8),
    "no palette": paletted(),
    "a palette cut off": paletted((b"PLTE", bytes(3 * 4 + 1))),
    "a bomb of text": png_with((b"zTXt", b"k\0\0" + zlib.compress(bytes(200_000_000), 9))),
}
TOO_MANY_PIXELS = {
    "20,000 x 20,000 in a few KB": png_bomb(20_000),
    "65,500 x 65,500 in 70 bytes at most": (
        header(65_500, 65_500, 1, 0) + chunk(b"IDAT", zlib.compress(bytes(5))) + chunk(b"IEND", b"")
    ),
    "1 x 500,000": file_of(np.zeros((1, 500_000), np.uint8), "png"),
}


@pytest.mark.parametrize("name", UNSUPPORTED)
def test_what_is_no_photo_that_we_read_is_unsupported(decoder: Decoder, name: str) -> None:
    with pytest.raises(UnsupportedImage):
        decoder.decode(UNSUPPORTED[name])


def test_what_is_read_is_named(decoder: Decoder) -> None:
    with pytest.raises(UnsupportedImage, match="JPEG, PNG, WebP, BMP, TIFF and GIF"):
        decoder.decode(UNSUPPORTED["HTML"])


@pytest.mark.parametrize("name", CORRUPT)
def test_what_is_damaged_is_corrupt(decoder: Decoder, name: str) -> None:
    with pytest.raises(CorruptImage):
        decoder.decode(CORRUPT[name])


@pytest.mark.parametrize("name", TOO_MANY_PIXELS)
def test_too_many_pixels_are_told_from_the_header(decoder: Decoder, name: str) -> None:
    with pytest.raises(ImageTooManyPixels):
        decoder.decode(TOO_MANY_PIXELS[name])


@pytest.mark.parametrize("kind", ["gif", "webp", "png", "tiff", "mpo"])
def test_that_only_the_first_frame_is_used_is_said(decoder: Decoder, kind: str) -> None:
    with decoder.decode(animated(kind)) as decoded:
        assert any("first" in warning for warning in decoded.header.warnings)


def read(decoder: Decoder, data: bytes) -> Photo:
    with decoder.decode(data) as decoded:
        return photo_of(decoded)


@pytest.mark.parametrize("kind", ["png", "jpeg", "webp"])
@pytest.mark.parametrize(
    "with_guest",
    [
        lambda data: data + b"PK\3\4 <script>guest</script>",
        lambda data: data + file_of(Image.new("RGB", (20, 20)), "gif") + b"guest",
    ],
    ids=["script", "GIF"],
)
def test_nothing_foreign_leaves_with_the_picture(
    decoder: Decoder, kind: OutputFormat, with_guest: Callable[[bytes], bytes]
) -> None:
    photo = read(decoder, with_guest(file_of(gradient(), "png")))
    assert b"guest" not in encode(photo, kind, 95)
    np.testing.assert_array_equal(photo.pixels, gradient())


def test_where_it_was_taken_and_by_whom_does_not_leave(decoder: Decoder) -> None:
    exif = Image.Exif()
    exif[0x010F] = "maker-guest"
    exif.get_ifd(0x8825)[29] = "2020:guest"
    photo = read(
        decoder,
        file_of(gradient(), "jpeg", exif=exif, comment=b"comment-guest", xmp=b"<x>xmp-guest</x>"),
    )
    kinds: tuple[OutputFormat, ...] = ("png", "jpeg", "webp")
    for kind in kinds:
        assert b"guest" not in encode(photo, kind, 95)


def mutated(data: bytes, chance: random.Random) -> bytes:
    """Some bytes changed, lost or added; half of the time near the start."""
    bent = bytearray(data)
    for _ in range(chance.choice([1, 2, 5, 20])):
        at = chance.randrange(min(len(bent), 200) if chance.random() < 0.5 else len(bent))
        lost, gained = chance.choice([(1, 1), (4, 4), (3, 0), (0, 3)])
        bent[at : at + lost] = chance.randbytes(gained)
    return bytes(bent)


@pytest.mark.parametrize("seed", range(8))
def test_a_photo_with_wrong_bytes_is_a_photo_or_an_error_of_the_photo(
    decoder: Decoder, seed: int
) -> None:
    chance = random.Random(seed)
    for data in warming.photos().values():
        try:
            read(decoder, mutated(data, chance))
        except InputError:
            continue


def test_after_all_this_a_photo_is_read(decoder: Decoder) -> None:
    np.testing.assert_array_equal(read(decoder, file_of(gradient(), "png")).pixels, gradient())
