"""PNG, JPEG, WebP, BMP, GIF and compressed TIFF of every kind: the picture of a second reader."""

from __future__ import annotations

import io
import itertools
import struct
import zlib
from typing import Any

import cv2
import imagecodecs
import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray
from PIL import Image

from shared.errors import UnsupportedImage
from tests.worker.engine.photos import chunk, file_of, gradient, turned
from worker.imaging.decode import Photo, decode
from worker.imaging.limits import Limits

LIMITS = Limits()
HEIGHT, WIDTH = 37, 53
PHOTO = np.asarray(Image.fromarray(gradient(HEIGHT, WIDTH)))
CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
PNG_KINDS = [
    *((0, depth) for depth in (1, 2, 4, 8, 16)),
    *((3, depth) for depth in (1, 2, 4, 8)),
    *itertools.product((2, 4, 6), (8, 16)),
]
ADAM7 = [(0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2)]
ADAM7 += [(1, 0, 2, 1)]  # first row and column, and the steps


def packed_rows(values: NDArray[Any], depth: int) -> bytes:
    """Lines of a PNG with filter 0."""
    if not values.size:
        return b""
    if depth < 8:
        bits = (values[..., None] >> np.arange(depth - 1, -1, -1)) & 1
        lines = np.packbits(bits.reshape(len(values), -1).astype(np.uint8), axis=1)
    else:
        lines = values.astype(f">u{depth // 8}").reshape(len(values), -1).view(np.uint8)
    return b"".join(b"\0" + line.tobytes() for line in lines)


def png_file(
    values: NDArray[Any], kind: int, depth: int, *, interlaced: bool, beside: bytes = b""
) -> bytes:
    height, width = values.shape[:2]
    passes = (
        [values[y::down, x::across] for y, x, down, across in ADAM7] if interlaced else [values]
    )
    header = struct.pack(">IIBBBBB", width, height, depth, kind, 0, 0, interlaced)
    return b"".join(
        (
            b"\x89PNG\r\n\x1a\n",
            chunk(b"IHDR", header),
            beside,
            chunk(b"IDAT", zlib.compress(b"".join(packed_rows(one, depth) for one in passes))),
            chunk(b"IEND", b""),
        )
    )


def samples_of(photo: Photo) -> NDArray[Any]:
    """All that it shows, in 16 bits: (H, W, 3 or 4)."""
    if photo.deep is not None:
        return photo.deep
    alpha = () if photo.alpha is None else (photo.alpha,)
    return np.dstack((photo.pixels, *alpha)).astype(np.uint16) * np.uint16(257)


def meant_by(
    values: NDArray[Any], kind: int, depth: int, palette: NDArray[np.uint8]
) -> tuple[NDArray[Any], NDArray[Any] | None]:
    """Colours (H, W, 3) and alpha (H, W) in 16 bits, by the words of the standard."""
    scaled = values * (65_535 // ((1 << depth) - 1))
    if kind == 3:
        return palette[values[:, :, 0]].astype(int) * 257, None
    colours = np.broadcast_to(scaled[:, :, : 3 if kind in {2, 6} else 1], (HEIGHT, WIDTH, 3))
    return colours, scaled[:, :, -1] if kind in {4, 6} else None


@pytest.mark.parametrize("keyed", [False, True])
@pytest.mark.parametrize("interlaced", [False, True])
@pytest.mark.parametrize(("kind", "depth"), PNG_KINDS)
def test_a_png_of_every_kind(kind: int, depth: int, interlaced: bool, keyed: bool) -> None:
    rng = np.random.default_rng(depth)
    values = rng.integers(0, 1 << depth, (HEIGHT, WIDTH, CHANNELS[kind]))
    palette = rng.integers(0, 256, (1 << min(depth, 8), 3)).astype(np.uint8)
    clear = rng.integers(0, 256, len(palette)).astype(np.uint8)
    colours, alpha = meant_by(values, kind, depth, palette)
    beside = chunk(b"PLTE", palette.tobytes()) if kind == 3 else b""
    if keyed and kind == 3:
        beside += chunk(b"tRNS", clear.tobytes())
        alpha = clear[values[:, :, 0]].astype(int) * 257
    elif keyed and alpha is None:
        beside += chunk(b"tRNS", values[5, 6].astype(">u2").tobytes())
        alpha = (values != values[5, 6]).any(2) * 65_535
    data = png_file(values, kind, depth, interlaced=interlaced, beside=beside)
    meant = colours if alpha is None else np.dstack((colours, alpha))
    np.testing.assert_array_equal(samples_of(decode(data, LIMITS)), meant)
    if depth >= 8 and not beside:
        second = imagecodecs.png_decode(data).reshape(values.shape)
        np.testing.assert_array_equal(second, values)


@pytest.mark.parametrize("quality", [40, 95])
@pytest.mark.parametrize(
    ("subsampling", "options"),
    [
        *((how, {}) for how in ("444", "422", "420", "440", "411")),
        *itertools.product(
            ("444", "422", "420"),
            ({"progressive": True}, {"optimize": True}, {"restart_marker_blocks": 3}),
        ),
    ],
    ids=str,
)
def test_a_jpeg_of_every_kind(quality: int, subsampling: str, options: dict[str, Any]) -> None:
    if options:
        given = f"{subsampling[0]}:{subsampling[1]}:{subsampling[2]}"
        data = file_of(PHOTO, "jpeg", quality=quality, subsampling=given, **options)
    else:
        data = imagecodecs.jpeg8_encode(PHOTO, level=quality, subsampling=subsampling)
    second = imagecodecs.jpeg8_decode(data)
    assert np.abs(decode(data, LIMITS).pixels.astype(int) - second).max() <= 2


@pytest.mark.parametrize("options", [{}, {"progressive": True}], ids=str)
@pytest.mark.parametrize("mode", ["L", "RGB without YCbCr", "CMYK"])
def test_a_jpeg_of_other_colours(mode: str, options: dict[str, Any]) -> None:
    image = Image.fromarray(PHOTO).convert(mode.partition(" ")[0])
    if mode == "RGB without YCbCr":
        options = {**options, "keep_rgb": True}
    data = file_of(image, "jpeg", quality=95, **options)
    pixels = decode(data, LIMITS).pixels.astype(int)
    second = imagecodecs.jpeg8_decode(data).astype(int)
    if mode == "CMYK":  # inverted, as Adobe writes it
        second = second[:, :, :3] * second[:, :, 3:] / 255
    assert np.abs(pixels - second.reshape(HEIGHT, WIDTH, -1)).max() <= 3


@pytest.mark.parametrize(
    "options", [{"bitspersample": 12}, {"lossless": True, "bitspersample": 16}]
)
def test_a_jpeg_of_more_bits_is_refused(options: dict[str, Any]) -> None:
    data = imagecodecs.jpeg_encode(PHOTO.astype(np.uint16) * np.uint16(16), **options)
    with pytest.raises(UnsupportedImage, match="bits a channel"):
        decode(data, LIMITS)


@pytest.mark.parametrize("alpha", [False, True])
@pytest.mark.parametrize(
    "options", [{"quality": 30}, {"quality": 95, "method": 6}, {"lossless": True}], ids=str
)
def test_a_webp_of_every_kind(alpha: bool, options: dict[str, Any]) -> None:
    pixels = np.dstack((PHOTO, PHOTO[:, :, 1])) if alpha else PHOTO
    data = file_of(pixels, "webp", exact=True, **options)
    photo = decode(data, LIMITS)
    second = imagecodecs.webp_decode(data)
    np.testing.assert_array_equal(photo.pixels, second[:, :, :3])
    if alpha:
        np.testing.assert_array_equal(photo.alpha, second[:, :, 3])


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB"])
def test_a_bmp_of_every_kind(mode: str) -> None:
    data = file_of(Image.fromarray(PHOTO).convert(mode), "bmp")
    second = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    assert second is not None
    np.testing.assert_array_equal(decode(data, LIMITS).pixels, second[:, :, ::-1])


@pytest.mark.parametrize("interlace", [0, 1])
def test_a_gif_of_every_kind(interlace: int) -> None:
    image = Image.fromarray(PHOTO).quantize(64)
    data = file_of(image, "gif", interlace=interlace)
    np.testing.assert_array_equal(decode(data, LIMITS).pixels, np.asarray(image.convert("RGB")))


@pytest.mark.parametrize("tile", [None, (16, 16), (32, 48)])
@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("colours", ["minisblack", "rgb", "ycbcr"])
def test_jpeg_in_a_tiff(colours: str, order: str, tile: tuple[int, int] | None) -> None:
    pixels = PHOTO[:, :, 0] if colours == "minisblack" else PHOTO
    out = io.BytesIO()
    options: dict[str, Any] = {"photometric": colours, "byteorder": order, "tile": tile}
    tifffile.imwrite(out, pixels, compression="jpeg", compressionargs={"level": 95}, **options)
    try:
        photo = decode(out.getvalue(), LIMITS)
    except UnsupportedImage:
        return
    out.seek(0)
    second = tifffile.imread(out).reshape(HEIGHT, WIDTH, -1).astype(int)
    assert np.abs(photo.pixels - second).max() <= 3


@pytest.mark.parametrize("compression", ["group3", "group4", "tiff_ccitt", "packbits", "tiff_lzw"])
def test_fax_in_a_tiff(compression: str) -> None:
    image = Image.fromarray(PHOTO).convert("1")
    photo = decode(file_of(image, "tiff", compression=compression), LIMITS)
    np.testing.assert_array_equal(photo.pixels[:, :, 0], np.asarray(image) * np.uint8(255))


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("png", {}),
        ("webp", {"lossless": True}),
        ("tiff", {}),
        ("tiff", {"compression": "tiff_lzw"}),
    ],
    ids=str,
)
def test_every_orientation_comes_upright(
    kind: str, options: dict[str, Any], orientation: int
) -> None:
    stored = Image.open(io.BytesIO(turned(PHOTO, orientation)))
    exif = stored.getexif()
    data = file_of(stored, kind, exif=exif, **options)
    np.testing.assert_array_equal(decode(data, LIMITS).pixels, PHOTO)
