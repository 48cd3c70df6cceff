"""Removes the metadata from a file without coding its pixels again.

EXIF, GPS, XMP, thumbnails, comments, further pictures and bytes after the picture are removed. What
a viewer needs to show the pixels correctly stays. Layouts: JPEG (ITU-T T.81 annex B, JFIF 1.02),
PNG (W3C), WebP (RFC 9649).
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass

from worker.imaging import png
from worker.imaging.resolution import Dpi, exif_with

_PNG_PIXELS = frozenset({b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND", b"sBIT"})
_PNG_ANIMATION = frozenset({b"acTL", b"fcTL", b"fdAT"})

_JPEG_START, _JPEG_END, _JPEG_SCAN = 0xD8, 0xD9, 0xDA
_APP0, _APP2, _ADOBE, _APP15, _COMMENT = 0xE0, 0xE2, 0xEE, 0xEF, 0xFE
_BARE = frozenset({0x01, *range(0xD0, 0xD8)})  # without a length
_MARKER = re.compile(rb"\xff+([\x01-\xcf\xd8-\xfe])")  # fill bytes may come before it
_AFTER_SCAN = re.compile(rb"\xff[\x01-\xcf\xd8-\xfe]")  # neither a stuffed 0 nor a restart
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_JFIF_BYTES, _ADOBE_BYTES = 14, 12  # without a thumbnail; without what was appended
_ICC_PART = 65_519  # what one segment has room for

_WEBP_PIXELS = frozenset({b"ALPH", b"VP8 ", b"VP8L"})  # codespell:ignore
_HAS_ICC, _HAS_ALPHA, _HAS_EXIF = 0x20, 0x10, 0x08


@dataclass(frozen=True, slots=True)
class Kept:
    """The metadata that stays: colour profile and resolution."""

    icc: bytes | None
    dpi: Dpi | None


def only_pixels(data: bytes, format: str, kept: Kept) -> bytes | None:  # noqa: A002 - its name
    """Return the file of ``format`` with its coded pixels and ``kept`` alone.

    Returns None for other formats, several frames and unknown structures.
    """
    make = {"jpeg": _jpeg, "png": _png, "webp": _webp}.get(format)
    try:
        return make(data, kept) if make else None
    except (IndexError, ValueError, struct.error):
        return None


def is_lossless_webp(data: bytes) -> bool:
    """Return whether the picture of a WebP file is coded without loss."""
    kinds = {kind for kind, _ in _riff_chunks(data)}
    return b"VP8L" in kinds and b"VP8 " not in kinds


def jpeg_bits(data: bytes) -> int | None:
    """Bits a sample of a JPEG file; None if its structure does not say."""
    try:
        return next((body[4] for kind, body in _jpeg_segments(data) if kind in _FRAMES), None)
    except (IndexError, ValueError):
        return None


def _png(data: bytes, kept: Kept) -> bytes | None:
    found = list(png.chunks(data))
    if not found or found[0][0] != b"IHDR" or _PNG_ANIMATION & {kind for kind, _ in found}:
        return None
    colour = [(kind, content) for kind, content in found if kind in png.COLOUR_CHUNKS]
    beside = b"".join(png.chunk(kind, content) for kind, content in colour)
    # A profile that was made of these chunks says nothing new.
    if kept.icc and (b"iCCP" in dict(found) or not colour):
        beside += png.profile_chunk(kept.icc)
    if kept.dpi:
        beside += png.resolution_chunk(kept.dpi)
    parts = [png.chunk(kind, content) for kind, content in found if kind in _PNG_PIXELS]
    return b"".join((png.SIGNATURE, parts[0], beside, *parts[1:]))


def _jpeg(data: bytes, kept: Kept) -> bytes | None:
    segments = list(_jpeg_segments(data))
    jfif = next((body for kind, body in segments if kind == _APP0 and body[4:9] == b"JFIF\0"), None)
    head = [b"\xff\xd8"]
    if jfif is not None and len(jfif) >= 2 + _JFIF_BYTES + 2:
        head.append(_jfif(jfif, kept.dpi))
    elif kept.dpi:  # a JFIF segment where there was none could change the colours
        head.append(_segment(0xE1, exif_with(kept.dpi)))
    head += _icc_segments(kept.icc)
    pictures = [body for kind, body in segments if not _APP0 <= kind <= _APP15 and kind != _COMMENT]
    adobe = [
        _segment(_ADOBE, body[4 : 4 + _ADOBE_BYTES])
        for kind, body in segments
        if kind == _ADOBE and body[4:9] == b"Adobe"
    ]
    return b"".join((*head, *adobe[:1], *pictures, b"\xff\xd9"))


def _jpeg_segments(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Marker and bytes of each segment after SOI and before EOI; coded data belong to its scan.

    Raises ValueError if they do not follow each other.
    """
    at = 2
    while True:
        found = _MARKER.match(data, at)
        if found is None:
            raise ValueError("no marker where one has to be")
        kind, start = found[1][0], found.end() - 2
        if kind == _JPEG_END:
            return
        if kind in _BARE or kind == _JPEG_START:
            raise ValueError("a marker that does not belong here")
        at = start + 2 + int.from_bytes(data[start + 2 : start + 4], "big")
        if kind == _JPEG_SCAN:
            after = _AFTER_SCAN.search(data, at)
            if after is None:
                raise ValueError("the file has no end")
            at = after.start()
        if at > len(data) or at < start + 4:
            raise ValueError("a segment that is cut off")
        yield kind, data[start:at]


def _segment(kind: int, content: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, kind, 2 + len(content)) + content


def _jfif(segment: bytes, dpi: Dpi | None) -> bytes:
    """The same without its thumbnail."""
    unit_and_density = segment[11:16]
    if dpi:
        unit_and_density = struct.pack(">BHH", 1, *(round(value) for value in dpi))
    return _segment(_APP0, segment[4:11] + unit_and_density + b"\0\0")


def _icc_segments(icc: bytes | None) -> list[bytes]:
    parts = [icc[at : at + _ICC_PART] for at in range(0, len(icc), _ICC_PART)] if icc else []
    return [
        _segment(_APP2, b"ICC_PROFILE\0" + bytes((number, len(parts))) + part)
        for number, part in enumerate(parts, 1)
    ]


def _webp(data: bytes, kept: Kept) -> bytes | None:
    found = list(_riff_chunks(data))
    kinds = [kind for kind, _ in found]
    pictures = [pair for pair in found if pair[0] in _WEBP_PIXELS]
    if b"ANIM" in kinds or b"ANMF" in kinds or not pictures:
        return None
    exif = exif_with(kept.dpi).removeprefix(b"Exif\0\0") if kept.dpi else None
    if b"VP8X" not in kinds:
        return None if kept.icc or exif else _riff(pictures)
    extended = bytearray(dict(found)[b"VP8X"])
    extended[0] &= _HAS_ALPHA
    before, after = [], []
    if kept.icc:
        extended[0] |= _HAS_ICC
        before = [(b"ICCP", kept.icc)]
    if exif:
        extended[0] |= _HAS_EXIF
        after = [(b"EXIF", exif)]
    return _riff([(b"VP8X", bytes(extended)), *before, *pictures, *after])


def _riff_chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Kind and content of each chunk; stops at one that is cut off."""
    at, end = 12, min(len(data), 8 + int.from_bytes(data[4:8], "little"))
    while at + 8 <= end:
        size = int.from_bytes(data[at + 4 : at + 8], "little")
        if at + 8 + size > end:
            return
        yield data[at : at + 4], data[at + 8 : at + 8 + size]
        at += 8 + size + size % 2


def _riff(parts: list[tuple[bytes, bytes]]) -> bytes:
    body = b"".join(
        kind + struct.pack("<I", len(content)) + content + bytes(len(content) % 2)
        for kind, content in parts
    )
    return b"RIFF" + struct.pack("<I", 4 + len(body)) + b"WEBP" + body
