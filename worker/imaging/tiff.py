"""TIFF: which layouts are read, and the samples of grey and RGB pictures with 8 or 16 bits.

Pillow decompresses, and reads the other layouts that it reads right. Every layout that is not
listed here is refused with its reason. Pillow alone would keep 8 bits of 16-bit colours, mix up
planes, and show some pictures as negatives. Layouts: TIFF 6.0 (Adobe, 1992); BigTIFF and further
tags: https://www.awaresystems.be/imaging/tiff.html.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL.TiffImagePlugin import ImageFileDirectory_v2, TiffImageFile

from shared.errors import CorruptImage, UnsupportedImage

Samples = NDArray[Any]

# Tags.
_SUBFILE, _WIDTH, _HEIGHT, _BITS, _COMPRESSION, _PHOTOMETRIC = 254, 256, 257, 258, 259, 262
_FILL_ORDER, _STRIP_OFFSETS, _SAMPLES, _STRIP_ROWS, _STRIP_BYTES = 266, 273, 277, 278, 279
_PLANES, _PREDICTOR, _TILE_WIDTH, _TILE_HEIGHT, _TILE_OFFSETS = 284, 317, 322, 323, 324
_TILE_BYTES, _INK_SET, _EXTRA, _FORMAT, _DNG = 325, 332, 338, 339, 50706

_LONG = 4  # a type of values
_OFFSETS = frozenset({330, 34665, 34853})  # of further directories

# PhotometricInterpretation.
_WHITE_IS_0, _BLACK_IS_0, _RGB, _PALETTE, _INKS, _YCBCR = 0, 1, 2, 3, 5, 6
_COLOURS = {_WHITE_IS_0: 1, _BLACK_IS_0: 1, _RGB: 3, _PALETTE: 1, _INKS: 4, _YCBCR: 3}

# Compression.
_RAW, _LZW, _JPEG, _DEFLATE, _PACKBITS, _OLD_DEFLATE = 1, 5, 7, 8, 32773, 32946
_LZMA, _ZSTD = 34925, 50000
_FAX = frozenset({2, 3, 4})
_PREDICTABLE = frozenset({_LZW, _DEFLATE, _OLD_DEFLATE, _LZMA, _ZSTD})
_EXACT = _PREDICTABLE | {_RAW, _PACKBITS}

# ExtraSamples.
_UNSPECIFIED, _ASSOCIATED, _UNASSOCIATED = _EXTRAS = 0, 1, 2

#: Bits a channel that Pillow reads right, of what is not read here.
_DEPTHS = {
    _WHITE_IS_0: {1, 2, 4, 8},
    _BLACK_IS_0: {1, 2, 4, 8, 12},
    _RGB: {8},
    _PALETTE: {1, 2, 4, 8},
    _INKS: {8, 16},
    _YCBCR: {8},
}

_MAX_SAMPLES = 8
_REDUCED_OR_MASK = 0b101  # bits of NewSubfileType
_ROWS = 256  # of strips decompressed at once: one by one, strips of one row would take too long
_BITS_REVERSED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))


@dataclass(frozen=True, slots=True)
class Layout:
    """How the first picture of a file is stored. ``order``: ``<`` or ``>``, of bytes in a sample.

    ``tile`` is the (width, height) of a tile, None for strips of ``strip_rows``.
    """

    tags: ImageFileDirectory_v2
    order: Literal["<", ">"]
    width: int
    height: int
    photometric: int
    bits: int
    samples: int
    extra: tuple[int, ...]
    planar: bool
    compression: int
    predicted: bool
    bits_reversed: bool
    tile: tuple[int, int] | None
    strip_rows: int

    @property
    def is_grey(self) -> bool:
        """Colour is one channel of grey."""
        return self.photometric in {_WHITE_IS_0, _BLACK_IS_0}

    @property
    def is_read_here(self) -> bool:
        """``read_samples`` reads it; otherwise Pillow does."""
        plain = self.is_grey or self.photometric == _RGB
        return plain and self.bits in {8, 16} and self.compression in _EXACT

    @property
    def is_first_of_several(self) -> bool:
        """The file has further pictures."""
        return bool(self.tags.next)

    @property
    def colours(self) -> int:
        """Channels before the extra ones."""
        return _COLOURS[self.photometric]


def begins(data: bytes) -> bool:
    """The first bytes are those of a TIFF or BigTIFF file."""
    return data.startswith((b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"))


def layout_of(data: bytes) -> Layout:
    """The layout of the first picture.

    Raises UnsupportedImage, with the reason, if it is not read, and CorruptImage if the directory
    cannot be.
    """
    if data.startswith(b"MM\0+"):  # Pillow mixes up its numbers
        raise UnsupportedImage("BigTIFF in big-endian order is not read; save it as TIFF or PNG")
    try:
        tags = _first_directory(data)
        reason = _foreign(tags, data) or _unread_type(tags)
        layout = None if reason else _layout(tags)
    except Exception as error:  # noqa: BLE001 - whatever a damaged directory makes Pillow raise
        raise CorruptImage(f"the TIFF file's directory cannot be read: {error}") from None
    if layout is not None:
        reason = _unread_channels(layout) or _unread_storage(layout)
        if reason is None:
            return layout
    raise UnsupportedImage(f"TIFF {reason} is not read; save it as grey or RGB with 8 or 16 bits")


def exif_of(layout: Layout, data: bytes) -> Image.Exif:
    """The tags of the first picture with its EXIF directory; BigTIFF has its tags alone."""
    exif = Image.Exif()
    if b"*" in data[:4]:
        exif.load(data)
    else:
        for tag in layout.tags:
            if tag not in _OFFSETS:
                exif[tag] = layout.tags[tag]
    return exif


def read_samples(layout: Layout, data: bytes) -> Samples:
    """Samples of a picture that ``is_read_here``: uint8 or uint16 (H, W, 3 or, with alpha, 4).

    Grey has three equal channels, 0 is black, and colours are not multiplied by alpha.
    Raises CorruptImage, and what Pillow's decoders raise.
    """
    has_alpha = layout.samples > layout.colours and layout.extra[0] != _UNSPECIFIED
    channels = layout.colours + has_alpha
    if layout.planar:
        kept = np.empty((layout.height, layout.width, channels), _native(layout))
        for channel in range(channels):
            kept[:, :, channel] = _plane(layout, data, channel, 1)[:, :, 0]
    else:
        kept = _plane(layout, data, 0, layout.samples)[:, :, :channels]
    if layout.photometric == _WHITE_IS_0:
        kept = kept.copy()
        kept[:, :, 0] = ~kept[:, :, 0]
    if has_alpha and layout.extra[0] == _ASSOCIATED:
        kept = _divided_by_alpha(kept)
    if layout.is_grey:
        kept = kept[:, :, [0, 0, 0, 1] if has_alpha else [0, 0, 0]]
    return np.ascontiguousarray(kept)


def _first_directory(data: bytes) -> ImageFileDirectory_v2:
    file = io.BytesIO(data)
    head = file.read(8)
    if b"+" in head[:4]:
        head += file.read(8)
    tags = ImageFileDirectory_v2(head)
    file.seek(tags.next)
    tags.load(file)
    return tags


def _foreign(tags: ImageFileDirectory_v2, data: bytes) -> str | None:
    """Return why the first picture is not the photo, such as the thumbnail of a raw file."""
    if _DNG in tags or data[8:10] == b"CR":
        return "of a camera's raw data"
    return "that begins with a thumbnail" if _number(tags, _SUBFILE, 0) & _REDUCED_OR_MASK else None


def _unread_type(tags: ImageFileDirectory_v2) -> str | None:
    if len(set(_numbers(tags, _BITS))) > 1:
        return "with channels of different depths"
    return None if set(_numbers(tags, _FORMAT)) <= {1} else "with signed or floating-point samples"


def _layout(tags: ImageFileDirectory_v2) -> Layout:
    samples = _number(tags, _SAMPLES, 1)
    photometric = _number(tags, _PHOTOMETRIC, _WHITE_IS_0)
    extra = _numbers(tags, _EXTRA)
    if not extra and photometric == _RGB and samples == 4:
        extra = (_UNASSOCIATED,)  # as OpenCV and others write it
    tile = None
    if _TILE_OFFSETS in tags:
        tile = _number(tags, _TILE_WIDTH), _number(tags, _TILE_HEIGHT)
    height = _number(tags, _HEIGHT)
    if height < 1 or _number(tags, _WIDTH) < 1 or (tile and min(tile) < 1):
        raise ValueError("a side of nothing")
    return Layout(
        tags=tags,
        order="<" if tags.prefix == b"II" else ">",
        width=_number(tags, _WIDTH),
        height=height,
        photometric=photometric,
        bits=(_numbers(tags, _BITS) or (1,))[0],
        samples=samples,
        extra=extra,
        planar=samples > 1 and _number(tags, _PLANES, 1) == 2,
        compression=_number(tags, _COMPRESSION, _RAW),
        predicted=_number(tags, _PREDICTOR, 1) != 1,
        bits_reversed=_number(tags, _FILL_ORDER, 1) == 2,
        tile=tile,
        strip_rows=max(1, min(height, _number(tags, _STRIP_ROWS, height))),
    )


def _number(tags: ImageFileDirectory_v2, tag: int, default: int | None = None) -> int:
    value = tags.get(tag, default)
    if isinstance(value, tuple):
        value = value[0]
    if type(value) is not int:
        raise TypeError(f"tag {tag} is not a whole number")
    return value


def _numbers(tags: ImageFileDirectory_v2, tag: int) -> tuple[int, ...]:
    value = tags.get(tag, ())
    return value if isinstance(value, tuple) else (value,)


def _unread_channels(layout: Layout) -> str | None:
    """Return why the colours or extra channels are not read; None if they are."""
    photometric, extra = layout.photometric, layout.extra
    if photometric not in _COLOURS:
        return f"with colours of kind {photometric} (PhotometricInterpretation)"
    colours = layout.colours
    palette = photometric == _PALETTE
    return _first_true(
        (
            layout.samples - colours != len(extra) or layout.samples > _MAX_SAMPLES,
            f"with {layout.samples} channels for {colours} colours",
        ),
        (not set(extra) <= set(_EXTRAS), "with channels of unknown meaning"),
        (
            photometric == _WHITE_IS_0 and _ASSOCIATED in extra,
            "in which 0 is white and colours are multiplied by alpha",
        ),
        (layout.is_read_here, None),
        (photometric == _INKS and layout.tags.get(_INK_SET, 1) != 1, "with inks other than CMYK"),
        (
            layout.bits not in _DEPTHS[photometric],
            f"with {layout.bits} bits a channel in these colours",
        ),
        (extra and not (palette and extra == (_UNASSOCIATED,)), "with these extra channels"),
    )


def _unread_storage(layout: Layout) -> str | None:
    """Return why the compression or the order of the samples is not read; None if it is."""
    compression, jpeg = layout.compression, layout.compression == _JPEG
    fax = compression in _FAX and layout.bits == 1 and layout.is_grey
    photo = jpeg and layout.bits == 8 and layout.photometric != _PALETTE
    predictor = _number(layout.tags, _PREDICTOR, 1)
    return _first_true(
        (
            not (compression in _EXACT or fax or photo),
            f"of compression {compression} with this kind of pixels",
        ),
        (layout.photometric == _YCBCR and not jpeg, "in YCbCr without JPEG compression"),
        (compression in _PREDICTABLE and predictor not in {1, 2}, "with such a predictor"),
        (layout.is_read_here, None),
        (layout.planar, "in planes with this kind of pixels"),
        (
            layout.bits_reversed and not (layout.bits == 1 and layout.is_grey),
            "with bits in reversed order",
        ),
        (layout.bits == 12 and layout.order == ">", "with 12 bits in big-endian order"),
    )


def _first_true(*checks: tuple[object, str | None]) -> str | None:
    """Return the text of the first condition that holds."""
    return next((said for holds, said in checks if holds), None)


def _native(layout: Layout) -> np.dtype[Any]:
    return np.dtype(np.uint16 if layout.bits == 16 else np.uint8)


def _plane(layout: Layout, data: bytes, first: int, channels: int) -> Samples:
    """Channels that are stored together, (H, W, channels); ``first`` counts planes."""
    picture = np.empty((layout.height, layout.width * channels), _native(layout))
    for x, y, block in _blocks(layout, data, first, channels):
        rows, columns = picture[y : y + len(block), x : x + block.shape[1]].shape
        picture[y : y + rows, x : x + columns] = block[:rows, :columns]
    return picture.reshape(layout.height, layout.width, channels)


def _blocks(
    layout: Layout, data: bytes, plane: int, channels: int
) -> Iterator[tuple[int, int, Samples]]:
    """Tiles, or some strips at a time: the column and row where each begins, and its samples."""
    segment = _segments(layout, data)
    if layout.tile:
        width, rows = layout.tile[0] * channels, layout.tile[1]
        across, down = -(-layout.width // layout.tile[0]), -(-layout.height // rows)
        first = plane * across * down
        for place in range(across * down):
            block = _block([segment(first + place)], layout, width, rows, rows)
            yield (
                place % across * width,
                place // across * rows,
                _unpredicted(block, layout, channels),
            )
        return
    rows, width = layout.strip_rows, layout.width * channels
    strips = -(-layout.height // rows)
    some = max(1, _ROWS // rows)
    for start in range(0, strips, some):
        stop = min(start + some, strips)
        found = [segment(plane * strips + index) for index in range(start, stop)]
        height = min(stop * rows, layout.height) - start * rows
        block = _block(found, layout, width, height, rows)
        yield 0, start * rows, _unpredicted(block, layout, channels)


def _segments(layout: Layout, data: bytes) -> Any:
    """A function from a segment's number to its bytes."""
    names = (_TILE_OFFSETS, _TILE_BYTES) if layout.tile else (_STRIP_OFFSETS, _STRIP_BYTES)
    offsets, sizes = (_numbers(layout.tags, name) for name in names)

    def segment(number: int) -> bytes:
        if number >= len(offsets):
            raise CorruptImage("the TIFF file has fewer strips or tiles than its size needs")
        # Some writers leave the size out of an uncompressed file with one strip.
        size = sizes[number] if number < len(sizes) else len(data)
        stored = data[offsets[number] : offsets[number] + size]
        return stored.translate(_BITS_REVERSED) if layout.bits_reversed else stored

    return segment


def _block(segments: list[bytes], layout: Layout, width: int, height: int, rows: int) -> Samples:
    """Samples (height, width) of segments one below the other, ``rows`` in each."""
    if layout.compression != _RAW:
        return _decompressed(segments, layout, width, height, rows)
    stored = b"".join(segments)
    kind = _native(layout).newbyteorder(layout.order)
    needed = width * height
    if len(stored) < needed * kind.itemsize:
        raise CorruptImage("the TIFF file is cut off before its last pixel")
    return np.frombuffer(stored, kind, needed).reshape(height, width).astype(kind.newbyteorder("="))


def _decompressed(
    segments: list[bytes], layout: Layout, width: int, height: int, rows: int
) -> Samples:
    """By Pillow, to which they are shown as a grey picture that many samples wide."""
    start = 8
    offsets = [start + sum(map(len, segments[:index])) for index in range(len(segments))]
    body = b"".join(segments)
    body += bytes(len(body) % 2)
    at = start + len(body)
    directory = _directory(
        layout.order,
        at,
        {
            _WIDTH: [width],
            _HEIGHT: [height],
            _BITS: [layout.bits],
            _COMPRESSION: [layout.compression],
            _PHOTOMETRIC: [_BLACK_IS_0],
            _STRIP_OFFSETS: offsets,
            _SAMPLES: [1],
            _STRIP_ROWS: [rows],
            _STRIP_BYTES: [len(segment) for segment in segments],
        },
    )
    head = b"II*\0" if layout.order == "<" else b"MM\0*"
    file = head + struct.pack(f"{layout.order}I", at) + body + directory
    # Not by Image.open, whose cap on pixels would count samples.
    with TiffImageFile(io.BytesIO(file)) as image:
        return np.asarray(image).astype(_native(layout), copy=False)


def _directory(order: str, start: int, entries: Mapping[int, Sequence[int]]) -> bytes:
    """A TIFF directory that begins at ``start``; all values are of type LONG."""
    after = start + 2 + 12 * len(entries) + 4
    directory, beyond = struct.pack(f"{order}H", len(entries)), b""
    for tag, values in sorted(entries.items()):
        directory += struct.pack(f"{order}HHI", tag, _LONG, len(values))
        content = struct.pack(f"{order}{len(values)}I", *values)
        if len(values) > 1:
            content, beyond = struct.pack(f"{order}I", after + len(beyond)), beyond + content
        directory += content
    return directory + bytes(4) + beyond


def _unpredicted(block: Samples, layout: Layout, channels: int) -> Samples:
    """Undo horizontal differencing (TIFF 6.0 §14): each sample is stored as its difference."""
    if not layout.predicted or layout.compression not in _PREDICTABLE:
        return block
    pixels = block.reshape(len(block), -1, channels)
    return np.cumsum(pixels, axis=1, dtype=block.dtype).reshape(block.shape)


def _divided_by_alpha(picture: Samples) -> Samples:
    top = np.iinfo(picture.dtype).max
    kept = picture.copy()
    for row in kept:
        colours, alpha = row[:, :-1].astype(np.float32), row[:, -1:].astype(np.float32)
        whole = np.divide(colours * top, alpha, out=np.zeros_like(colours), where=alpha > 0)
        row[:, :-1] = whole.round().clip(0, top)
    return kept
