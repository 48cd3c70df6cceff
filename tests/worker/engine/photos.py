"""Files made in code for the tests of decoding, here and on the command line."""

from __future__ import annotations

import io
import struct
import zlib
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

ORIENTATION = 0x0112


def gradient(height: int = 40, width: int = 60) -> NDArray[np.uint8]:
    """A picture whose corners all differ, so that a rotation is noticed."""
    y, x = np.mgrid[0:height, 0:width]
    return np.stack((x * 255 // width, y * 255 // height, (x + y) % 256), 2).astype(np.uint8)


def file_of(image: Image.Image | NDArray[Any], kind: str, **options: Any) -> bytes:
    """Encode with Pillow."""
    out = io.BytesIO()
    (image if isinstance(image, Image.Image) else Image.fromarray(image)).save(out, kind, **options)
    return out.getvalue()


def png_of(samples: NDArray[Any], colour_type: int, depth: int) -> bytes:
    """A PNG of any bit depth: samples (H, W x channels), big-endian."""
    height, row_bytes = samples.shape[0], samples.astype(f">u{depth // 8}")
    channels = {0: 1, 2: 3, 4: 2, 6: 4}[colour_type]
    width = samples.shape[1] // channels
    header = struct.pack(">IIBBBBB", width, height, depth, colour_type, 0, 0, 0)
    lines = b"".join(b"\0" + row.tobytes() for row in row_bytes)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(lines))
        + chunk(b"IEND", b"")
    )


def png_bomb(side_px: int) -> bytes:
    """A 1-bit PNG of side_px x side_px, all zero: a few dozen KB."""
    header = struct.pack(">IIBBBBB", side_px, side_px, 1, 0, 0, 0, 0)
    packer = zlib.compressobj(9)
    line = bytes(1 + (side_px + 7) // 8)
    data = b"".join(packer.compress(line) for _ in range(side_px)) + packer.flush()
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")
    )


def chunk(kind: bytes, data: bytes) -> bytes:
    """One chunk of a PNG."""
    crc = zlib.crc32(kind + data)
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", crc)


def png_with_oversized_transparency() -> bytes:
    """A palette of 4 colours, and the transparency of 300: Pillow fails when it converts it."""
    data = file_of(Image.fromarray(gradient()).quantize(4), "png")
    at = data.index(b"IDAT") - 4
    return data[:at] + chunk(b"tRNS", bytes(300)) + data[at:]


def turned(pixels: NDArray[np.uint8], orientation: int, kind: str = "png") -> bytes:
    """A file of ``pixels``, stored rotated by the EXIF ``orientation``."""
    undo = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }
    image = Image.fromarray(pixels)
    if orientation in undo:
        image = image.transpose(undo[orientation])
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    return file_of(image, kind, exif=exif.tobytes())


def animated(kind: str) -> bytes:
    """Two frames: the gradient, then black."""
    first = Image.fromarray(gradient())
    return file_of(
        first,
        kind,
        save_all=True,
        append_images=[Image.new("RGB", first.size)],
        duration=100,
        **({"lossless": True} if kind == "webp" else {}),
    )


def ink_profile(*, complete: bool = True) -> bytes:
    """A CMYK profile under which every ink is grey: the more of it, the darker.

    An ICC 2.1 printer profile with one table, A2B0 (lut8Type, two grid points an ink); without it
    if not ``complete``.
    """
    corners = [(c, m, y, k) for c in (0, 1) for m in (0, 1) for y in (0, 1) for k in (0, 1)]
    lab = b"".join(bytes((255 - 255 * sum(inks) // 4, 128, 128)) for inks in corners)
    identity = struct.pack(">9i", *(65_536 * (i % 4 == 0) for i in range(9)))
    ramp = bytes(range(256))
    table = b"mft1" + bytes(4) + bytes((4, 3, 2, 0)) + identity + 4 * ramp + lab + 3 * ramp
    tags = [(b"A2B0", table)] if complete else []
    start = 128 + 4 + 12 * len(tags)
    directory = struct.pack(">I", len(tags))
    for name, data in tags:
        directory += name + struct.pack(">II", start, len(data))
    body = directory + b"".join(data for _, data in tags)
    white = struct.pack(">3i", 0xF6D6, 0x10000, 0xD32D)  # D50
    header = struct.pack(
        ">I4sI4s4s4s12s4s",
        128 + len(body),
        b"",
        0x02100000,
        b"prtr",
        b"CMYK",
        b"Lab ",
        bytes(12),
        b"acsp",
    )
    return (header + bytes(28) + white).ljust(128, b"\0") + body
