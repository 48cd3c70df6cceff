"""All bits of a PNG with 16 bits a channel: Pillow itself keeps 8 of all but grey.

Pillow still decodes. It does so twice: for the high byte of each sample, as always, and, with
another byte order set, for the low one. ``tiff`` reads TIFF.
"""

from __future__ import annotations

import sys
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Samples = NDArray[np.uint16]

_NATIVE = "L" if sys.byteorder == "little" else "B"
_OTHER_END = {"L": "B", "B": "L"}
_CHANNELS = {"RGB": 3, "RGBA": 4, "LA": 2}
_ROWS = 256  # at a time: pictures may be large


def rawmodes(image: Image.Image) -> set[str]:
    """Return Pillow's names of the sample layout. Call it before the image is loaded."""
    tiles = getattr(image, "tile", ())
    return {str(t[3] if isinstance(t[3], str) else t[3][0]) for t in tiles}


def read(loaded: Image.Image, found: set[str], reopen: Callable[[], Image.Image]) -> Samples | None:
    """Return all bits of a loaded image whose ``rawmodes`` were ``found``; None if it has up to 8.

    uint16 (H, W, 3 or, with alpha, 4); the three channels of a grey picture are equal. ``reopen``
    opens the same file anew. Raises what Pillow's decoders raise.
    """
    if loaded.mode.startswith("I;16"):
        grey = np.asarray(loaded).astype(np.uint16)[:, :, None]
        if found == {"I;12"}:  # comes as 0…4095
            grey = np.asarray((grey << 4) | (grey >> 8), np.uint16)
        return _with_key(np.repeat(grey, 3, axis=2), loaded)
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

    return _with_key(_assembled(again, _CHANNELS[kind], both), loaded)


def _with_key(samples: Samples, image: Image.Image) -> Samples:
    """With an alpha channel if one colour of the file stands for transparent."""
    key = image.info.get("transparency")
    if key is None or samples.shape[2] == 4:
        return samples
    seen = (samples != np.array(key, np.uint16)).any(2, keepdims=True)
    return np.concatenate((samples, seen * np.uint16(65_535)), axis=2)


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
    samples = np.empty((image.height, image.width, channels), np.uint16)
    for start in range(0, image.height, _ROWS):
        rows = slice(start, min(start + _ROWS, image.height))
        samples[rows] = samples_of(_rows(image, rows), rows)
    return samples


def _rows(image: Image.Image, rows: slice) -> NDArray[np.uint8]:
    return np.asarray(image.crop((0, rows.start, image.width, rows.stop)))


def _joined(high_low: NDArray[np.uint8]) -> Samples:
    high, low = high_low[..., 0::2].astype(np.uint16), high_low[..., 1::2]
    return np.asarray((high << 8) | low, np.uint16)


def rounded(samples: Samples) -> NDArray[np.uint8]:
    """Return the nearest 8-bit values, uint8 of the same shape."""
    values = np.empty(samples.shape, np.uint8)
    for start in range(0, len(samples), _ROWS):
        part = samples[start : start + _ROWS].astype(np.uint32)
        values[start : start + _ROWS] = (part * 255 + 32_895) >> 16  # as / 257, but much faster
    return values
