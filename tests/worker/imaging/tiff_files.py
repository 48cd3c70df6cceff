"""TIFF files of every layout, made in code."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import imagecodecs
import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.uint32]

WHITE_IS_0, BLACK_IS_0, RGB, PALETTE, INKS, YCBCR, LAB = 0, 1, 2, 3, 5, 6, 8
_COMPRESS: dict[str, tuple[int, Callable[[bytes], bytes]]] = {
    "raw": (1, bytes),
    "lzw": (5, lambda data: bytes(imagecodecs.lzw_encode(data))),
    "deflate": (8, zlib.compress),
    "old deflate": (32946, zlib.compress),
    "packbits": (32773, lambda data: bytes(imagecodecs.packbits_encode(data))),
    "lzma": (34925, lambda data: bytes(imagecodecs.lzma_encode(data))),
    "zstd": (50000, lambda data: bytes(imagecodecs.zstd_encode(data))),
}
_SHORT, _LONG, RATIONAL = 3, 4, 5  # types of values
_REVERSED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))


@dataclass(frozen=True)
class Layout:
    """How a file is stored. ``tile`` and ``rows`` (of a strip): None is one strip."""

    bits: int = 8
    photometric: int = RGB
    order: str = "<"
    planar: bool = False
    tile: int | None = None
    rows: int | None = None
    compression: str = "raw"
    predictor: bool = False
    extra: tuple[int, ...] = ()
    big: bool = False
    fill_order: int = 1
    sample_format: int = 1
    tags: tuple[tuple[int, int, tuple[int, ...]], ...] = ()

    def __str__(self) -> str:
        names = {0: "white is 0", 1: "black is 0", 2: "RGB", 3: "palette", 5: "inks", 6: "YCbCr"}
        said = [f"{self.bits} bits", names.get(self.photometric, str(self.photometric))]
        said += ["big-endian"] if self.order == ">" else []
        said += ["planes"] if self.planar else []
        said += [f"tiles of {self.tile}"] if self.tile else []
        said += [f"strips of {self.rows}"] if self.rows else []
        said += [self.compression, *(["predictor"] if self.predictor else [])]
        said += [f"extra {self.extra}"] if self.extra else []
        said += ["BigTIFF"] if self.big else []
        said += ["bits reversed"] if self.fill_order == 2 else []
        return ", ".join(said)


def tiff_of(values: Values, layout: Layout) -> bytes:
    """The file of whole values (H, W, samples), each of ``layout.bits``."""
    height, width, samples = values.shape
    planes = [values[:, :, i : i + 1] for i in range(samples)] if layout.planar else [values]
    segments = [_packed(block, layout) for plane in planes for block in _blocks(plane, layout)]
    entries: dict[int, tuple[int, tuple[int, ...]]] = {
        256: (_LONG, (width,)),
        257: (_LONG, (height,)),
        258: (_SHORT, (layout.bits,) * samples),
        259: (_SHORT, (_COMPRESS[layout.compression][0],)),
        262: (_SHORT, (layout.photometric,)),
        266: (_SHORT, (layout.fill_order,)),
        277: (_SHORT, (samples,)),
        284: (_SHORT, (2 if layout.planar else 1,)),
        317: (_SHORT, (2 if layout.predictor else 1,)),
        339: (_SHORT, (layout.sample_format,) * samples),
    }
    if layout.extra:
        entries[338] = (_SHORT, layout.extra)
    if layout.tile:
        entries[322] = entries[323] = (_SHORT, (layout.tile,))
    else:
        entries[278] = (_LONG, (layout.rows or height,))
    entries.update({tag: (kind, numbers) for tag, kind, numbers in layout.tags})
    return _file(entries, segments, layout)


def _blocks(plane: Values, layout: Layout) -> Iterator[Values]:
    height, width, _ = plane.shape
    if not layout.tile:
        rows = layout.rows or height
        yield from (plane[y : y + rows] for y in range(0, height, rows))
        return
    side = layout.tile
    padded = np.pad(plane, ((0, -height % side), (0, -width % side), (0, 0)), mode="edge")
    for y in range(0, height, side):
        for x in range(0, width, side):
            yield padded[y : y + side, x : x + side]


def _packed(block: Values, layout: Layout) -> bytes:
    kind = np.dtype(f"{layout.order}u{max(1, layout.bits // 8)}") if layout.bits != 12 else None
    if layout.predictor:
        block = np.diff(block, axis=1, prepend=0) % (1 << layout.bits)
    if layout.bits % 8 == 0:
        data = block.astype(kind).tobytes()
    else:
        places = np.arange(layout.bits - 1, -1, -1)
        bits = (block[..., None] >> places & 1).astype(np.uint8)
        data = np.packbits(bits.reshape(len(block), -1), axis=1).tobytes()
    if layout.compression == "packbits":  # rows are packed each for itself
        length = len(data) // len(block)
        rows = [data[at : at + length] for at in range(0, len(data), length)]
        data = b"".join(_COMPRESS["packbits"][1](row) for row in rows)
    else:
        data = _COMPRESS[layout.compression][1](data)
    return data.translate(_REVERSED) if layout.fill_order == 2 else data


def _file(
    entries: dict[int, tuple[int, tuple[int, ...]]], segments: list[bytes], layout: Layout
) -> bytes:
    order, big = layout.order, layout.big
    word, count_of, step = ("Q", "Q", 20) if big else ("I", "H", 12)
    inline = struct.calcsize(order + word)
    start = 16 if big else 8
    offsets = tuple(start + sum(len(one) for one in segments[:i]) for i in range(len(segments)))
    entries[324 if layout.tile else 273] = (_LONG, offsets)
    entries[325 if layout.tile else 279] = (_LONG, tuple(len(one) for one in segments))
    body = b"".join(segments)
    body += bytes(len(body) % 2)
    at = start + len(body)
    after = at + struct.calcsize(order + count_of) + step * len(entries) + inline
    directory, beyond = struct.pack(order + count_of, len(entries)), b""
    for tag, (kind, numbers) in sorted(entries.items()):
        code, each = {_SHORT: ("H", 1), _LONG: ("I", 1), RATIONAL: ("I", 2)}[kind]
        data = struct.pack(f"{order}{len(numbers)}{code}", *numbers)
        directory += struct.pack(order + "HH" + word, tag, kind, len(numbers) // each)
        if len(data) > inline:
            directory += struct.pack(order + word, after + len(beyond))
            beyond += data + bytes(len(data) % 2)
        else:
            directory += data.ljust(inline, b"\0")
    directory += struct.pack(order + word, 0)
    head = b"II" if order == "<" else b"MM"
    head += struct.pack(order + "HHHQ", 43, 8, 0, at) if big else struct.pack(order + "HI", 42, at)
    return head + body + directory + beyond


def with_tag(layout: Layout, tag: int, *numbers: int) -> Layout:
    """The same layout with one tag more, of type SHORT."""
    return replace(layout, tags=(*layout.tags, (tag, _SHORT, numbers)))
