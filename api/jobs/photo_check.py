"""A first look at uploaded bytes, without decoding: is it a photo, and not too large.

The worker's decoder has the last word; what is plain from the first bytes is refused at once.
Header layouts: PNG (W3C, 11.2.1), GIF89a §18, BITMAPINFOHEADER, WebP container (RFC 9649),
JPEG (ITU-T T.81 B.2.2), TIFF 6.0 §2.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable
from dataclasses import dataclass

from shared.errors import ImageTooManyPixels, UnsupportedImage

ALLOWED = "JPEG, PNG, WebP, BMP, TIFF or GIF"

Size = tuple[int, int]
_Measure = Callable[[bytes], Size | None]

# Start-of-frame markers: all of C0…CF but the tables DHT, JPG and DAC.
_JPEG_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_JPEG_BARE = frozenset({0x01, *range(0xD0, 0xD8)})  # markers without a length
_JPEG_SCAN = 0xDA
#: A marker: FF, more of them as fill bytes (B.1.1.2), its code. No encoder fills with more.
_JPEG_MARKER = re.compile(rb"\xff{1,1024}([^\xff])")
#: Markers before the frame header. Large metadata in parts of 64 kB stays below this.
_MAX_JPEG_MARKERS = 1_000


@dataclass(frozen=True, slots=True)
class Glance:
    """What the first bytes say. ``size_px`` is (width, height), None where they do not tell."""

    content_type: str
    size_px: Size | None


def glance(data: bytes) -> Glance:
    """Recognise a photo by its content. Raises UnsupportedImage."""
    if not data:
        raise UnsupportedImage(f"The file is empty. Send {ALLOWED}.")
    for matches, content_type, measure in _KINDS:
        if matches(data):
            return Glance(content_type, measure(data))
    raise UnsupportedImage(f"The content is not an image we read. Send {ALLOWED}.")


def check_size(found: Glance, *, max_pixels: int, max_side_px: int) -> None:
    """Raises ImageTooManyPixels when the header says that decoding would be too much."""
    if found.size_px is None:
        return
    width, height = found.size_px
    if width * height > max_pixels or max(width, height) > max_side_px:
        raise ImageTooManyPixels(
            f"{width} x {height} px; allowed are {max_pixels} pixels in all"
            f" and {max_side_px} px a side."
        )


def _png(data: bytes) -> Size | None:
    return _pair(">II", data, 16) if data[12:16] == b"IHDR" else None


def _gif(data: bytes) -> Size | None:
    return _pair("<HH", data, 6)


def _bmp(data: bytes) -> Size | None:
    if data[14:18] == b"\x0c\0\0\0":  # the old OS/2 header
        return _pair("<HH", data, 18)
    size = _pair("<ii", data, 18)
    return size and (abs(size[0]), abs(size[1]))  # a negative height means top-down rows


def _webp(data: bytes) -> Size | None:
    kind = data[12:16]
    if kind == b"VP8X" and len(data) >= 30:
        width, height = (int.from_bytes(data[at : at + 3], "little") for at in (24, 27))
        return 1 + width, 1 + height
    if kind == b"VP8L" and len(data) >= 25:
        bits = int.from_bytes(data[21:25], "little")
        return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    size = _pair("<HH", data, 26) if kind == b"VP8 " else None
    return size and (size[0] & 0x3FFF, size[1] & 0x3FFF)


def _jpeg(data: bytes) -> Size | None:
    at = 2
    for _ in range(_MAX_JPEG_MARKERS):
        found = _JPEG_MARKER.match(data, at)
        if found is None:
            return None
        marker, at = found[1][0], found.end()
        if marker in _JPEG_BARE:
            continue
        if marker in _JPEG_FRAMES:
            size = _pair(">HH", data, at + 3)  # height first
            return size and (size[1], size[0])
        if marker == _JPEG_SCAN:
            return None
        at += int.from_bytes(data[at : at + 2], "big")
    return None


def _unknown(_: bytes) -> Size | None:
    return None  # TIFF may keep its directory anywhere in the file: left to the decoder


def _pair(layout: str, data: bytes, at: int) -> Size | None:
    if at + struct.calcsize(layout) > len(data):
        return None
    first, second = struct.unpack_from(layout, data, at)
    return first, second


_KINDS: tuple[tuple[Callable[[bytes], bool], str, _Measure], ...] = (
    (lambda data: data.startswith(b"\xff\xd8\xff"), "image/jpeg", _jpeg),
    (lambda data: data.startswith(b"\x89PNG\r\n\x1a\n"), "image/png", _png),
    (lambda data: data[:4] == b"RIFF" and data[8:12] == b"WEBP", "image/webp", _webp),
    (lambda data: data.startswith((b"GIF87a", b"GIF89a")), "image/gif", _gif),
    (lambda data: data.startswith(b"BM") and data[6:10] == bytes(4), "image/bmp", _bmp),
    (lambda data: data.startswith((b"II*\0", b"MM\0*")), "image/tiff", _unknown),
)
IMAGE_TYPES = frozenset(content_type for _, content_type, _ in _KINDS)
