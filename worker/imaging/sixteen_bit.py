"""16 bits a channel, in and out: Pillow itself keeps 8 of all but grey.

Pillow's decoder stays the one that reads. It is asked twice: for the high byte of each sample, as
always, and, told that the bytes lie the other way round, for the low one.
"""

from __future__ import annotations

import struct
import sys
import zlib
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Samples = NDArray[np.uint16]

_NATIVE = "L" if sys.byteorder == "little" else "B"
_OTHER_END = {"L": "B", "B": "L"}
_CHANNELS = {"RGB": 3, "RGBA": 4, "LA": 2}
_ROWS = 256  # at a time: pictures may be large
_COLOUR_TYPES = {1: 0, 2: 4, 3: 2, 4: 6}


def rawmodes(image: Image.Image) -> set[str]:
    """How samples lie in the file, as Pillow names it; asked before it is loaded."""
    tiles = getattr(image, "tile", ())
    return {str(t[3] if isinstance(t[3], str) else t[3][0]) for t in tiles}


def read(loaded: Image.Image, found: set[str], reopen: Callable[[], Image.Image]) -> Samples | None:
    """All bits of a loaded image whose ``rawmodes`` were ``found``; None where there is no way.

    uint16 (H, W, 3 or, with alpha, 4); the three channels of a grey picture are equal. ``reopen``
    opens the same file anew. Raises what Pillow's decoders raise.
    """
    if loaded.mode.startswith("I;16"):
        grey = np.asarray(loaded).astype(np.uint16)[:, :, None]
        if found == {"I;12"}:  # comes as 0…4095
            grey = np.asarray((grey << 4) | (grey >> 8), np.uint16)
        return np.repeat(grey, 3, axis=2)
    kind, _, order = next(iter(found)).partition(";16") if len(found) == 1 else ("", "", "")
    order = _NATIVE if order == "N" else order
    if kind not in _CHANNELS or order not in _OTHER_END:
        return None
    again = reopen()
    if kind == "LA":  # two samples of two bytes are four bytes
        _unpack_as(again, "RGBA")
        return _assembled(again, 4, lambda part, _: _joined(part)[:, :, [0, 0, 0, 1]])
    _unpack_as(again, f"{kind};16{_OTHER_END[order]}")

    def both(low: NDArray[np.uint8], rows: slice) -> Samples:
        high = _rows(loaded, rows).astype(np.uint16)
        return np.asarray((high << 8) | low, np.uint16)

    return _assembled(again, _CHANNELS[kind], both)


def _unpack_as(image: Image.Image, rawmode: str) -> None:
    image.tile = [  # type: ignore[attr-defined]  # only images of files have tiles
        tile._replace(args=rawmode if isinstance(tile.args, str) else (rawmode, *tile.args[1:]))
        for tile in image.tile  # type: ignore[attr-defined]
    ]


def _assembled(
    image: Image.Image,
    channels: int,
    samples_of: Callable[[NDArray[np.uint8], slice], Samples],
) -> Samples:
    """Put together from some rows at a time: all at once there would be four times the memory."""
    answer = np.empty((image.height, image.width, channels), np.uint16)
    for start in range(0, image.height, _ROWS):
        rows = slice(start, min(start + _ROWS, image.height))
        answer[rows] = samples_of(_rows(image, rows), rows)
    return answer


def _rows(image: Image.Image, rows: slice) -> NDArray[np.uint8]:
    return np.asarray(image.crop((0, rows.start, image.width, rows.stop)))


def _joined(high_low: NDArray[np.uint8]) -> Samples:
    high, low = high_low[..., 0::2].astype(np.uint16), high_low[..., 1::2]
    return np.asarray((high << 8) | low, np.uint16)


def rounded(samples: Samples) -> NDArray[np.uint8]:
    """The nearest 8-bit values."""
    answer = np.empty(samples.shape, np.uint8)
    for start in range(0, len(samples), _ROWS):
        part = samples[start : start + _ROWS].astype(np.uint32)
        answer[start : start + _ROWS] = (part * 255 + 32_895) >> 16  # as / 257, but much faster
    return answer


def png(samples: Samples, icc: bytes | None) -> bytes:
    """A PNG file of 16 bits a channel, which Pillow cannot write.

    ``samples`` (H, W, C): C = 1 grey, 2 grey and alpha, 3 RGB, 4 RGB and alpha.
    """
    height, width, channels = samples.shape
    header = struct.pack(">IIBBBBB", width, height, 16, _COLOUR_TYPES[channels], 0, 0, 0)
    profile = _chunk(b"iCCP", b"profile\0\0" + zlib.compress(icc)) if icc else b""
    return b"".join(
        (
            b"\x89PNG\r\n\x1a\n",
            _chunk(b"IHDR", header),
            profile,
            _chunk(b"IDAT", _packed(samples)),
            _chunk(b"IEND", b""),
        )
    )


def _packed(samples: Samples) -> bytes:
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


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
