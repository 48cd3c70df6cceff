"""PNG as a sequence of chunks: read, filtered, and written with 16 bits a channel.

Layout: Portable Network Graphics (Third Edition), W3C Recommendation, 2025.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

SIGNATURE = b"\x89PNG\r\n\x1a\n"
#: Chunks that say which colours the numbers stand for, other than by an ICC profile.
COLOUR_CHUNKS = (b"cICP", b"mDCV", b"cLLI", b"sRGB", b"gAMA", b"cHRM")
_COLOUR_TYPES = {1: 0, 2: 4, 3: 2, 4: 6}
_ROWS = 256  # packed at once: pictures may be large
_METRES_PER_INCH = 0.0254
_MAX_PER_METRE = 0x7FFF_FFFF


def chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Kind and content of each chunk, up to IEND. Checksums are not looked at.

    Stops at a chunk that is cut off.
    """
    at = len(SIGNATURE)
    while at + 12 <= len(data):
        size = int.from_bytes(data[at : at + 4], "big")
        kind = data[at + 4 : at + 8]
        if at + 12 + size > len(data):
            return
        yield kind, data[at + 8 : at + 8 + size]
        if kind == b"IEND":
            return
        at += 12 + size


def chunk(kind: bytes, content: bytes) -> bytes:
    """One chunk as it stands in a file."""
    checksum = zlib.crc32(kind + content)
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", checksum)


def profile_chunk(icc: bytes) -> bytes:
    """An ICC profile as a chunk."""
    return chunk(b"iCCP", b"profile\0\0" + zlib.compress(icc))


def resolution_chunk(dpi: tuple[float, float]) -> bytes:
    """Dots per inch, horizontal and vertical, as a chunk."""
    x, y = (min(round(value / _METRES_PER_INCH), _MAX_PER_METRE) for value in dpi)
    return chunk(b"pHYs", struct.pack(">IIB", x, y, 1))


def sixteen_bit(samples: NDArray[np.uint16], beside: bytes) -> bytes:
    """A PNG file of 16 bits a channel, which Pillow does not write.

    ``samples`` (H, W, C): C = 1 grey, 2 grey and alpha, 3 RGB, 4 RGB and alpha. ``beside``: whole
    chunks that go between header and pixels.
    """
    height, width, channels = samples.shape
    header = struct.pack(">IIBBBBB", width, height, 16, _COLOUR_TYPES[channels], 0, 0, 0)
    return b"".join(
        (
            SIGNATURE,
            chunk(b"IHDR", header),
            beside,
            chunk(b"IDAT", _packed(samples)),
            chunk(b"IEND", b""),
        )
    )


def _packed(samples: NDArray[np.uint16]) -> bytes:
    """Each line as its differences from the pixel to the left (filter 1), then deflated."""
    height, width, channels = samples.shape
    step, packer, parts = 2 * channels, zlib.compressobj(4), []
    for start in range(0, height, _ROWS):
        lines = (
            samples[start : start + _ROWS].astype(">u2").view(np.uint8).reshape(-1, width * step)
        )
        filtered = np.empty((len(lines), 1 + width * step), np.uint8)
        filtered[:, 0] = 1
        filtered[:, 1 : 1 + step] = lines[:, :step]
        filtered[:, 1 + step :] = lines[:, step:] - lines[:, :-step]
        parts.append(packer.compress(filtered.tobytes()))
    return b"".join((*parts, packer.flush()))
