"""Every layout of TIFF: the picture that a second reader sees, or a refusal, never another one."""

from __future__ import annotations

import io
import itertools
from collections.abc import Iterator

import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray

from shared.errors import UnsupportedImage
from tests.worker.imaging.tiff_files import (
    BLACK_IS_0,
    INKS,
    LAB,
    PALETTE,
    RGB,
    WHITE_IS_0,
    YCBCR,
    Layout,
    Values,
    tiff_of,
    with_tag,
)
from worker.imaging.decode import Photo, decode
from worker.imaging.limits import Limits

COLOURS = {WHITE_IS_0: 1, BLACK_IS_0: 1, RGB: 3, PALETTE: 1, INKS: 4, YCBCR: 3, LAB: 3}
HEIGHT, WIDTH = 37, 53  # no multiple of a tile or a strip
#: How segments are cut and compressed.
STORAGES = [
    {},
    {"tile": 16},
    {"rows": 5},
    {"compression": "lzw", "predictor": True, "rows": 5},
    {"compression": "deflate", "predictor": True, "tile": 16},
    {"compression": "old deflate"},
    {"compression": "packbits", "rows": 7},
    {"compression": "zstd", "tile": 32},
    {"compression": "lzma", "predictor": True},
    {"fill_order": 2},
    {"fill_order": 2, "compression": "lzw", "tile": 16},
    {"big": True, "rows": 5},
]
#: None, unspecified, alpha that is and is not multiplied in, and two.
EXTRAS = [(), (0,), (1,), (2,), (2, 0), (0, 0)]
ALPHA_PREMULTIPLIED = 1
FAMILIES = [
    *itertools.product((1, 2, 4, 12), (WHITE_IS_0, BLACK_IS_0)),
    *itertools.product((1, 2, 4, 8), (PALETTE,)),
    *itertools.product((8, 16, 32), (WHITE_IS_0, BLACK_IS_0, RGB, INKS, YCBCR, LAB)),
]
#: Families of which some layouts at least are read.
READ = {
    *itertools.product((1, 2, 4), (WHITE_IS_0, BLACK_IS_0, PALETTE)),
    *itertools.product((8, 16), (WHITE_IS_0, BLACK_IS_0, RGB, INKS)),
    *((8, PALETTE), (12, BLACK_IS_0)),
}


def layouts(bits: int, photometric: int) -> Iterator[Layout]:
    for extra, planar, order, storage in itertools.product(EXTRAS, (False, True), "<>", STORAGES):
        layout = Layout(bits, photometric, order, planar, extra=extra, **storage)  # type: ignore[arg-type]
        one_channel = COLOURS[photometric] + len(extra) == 1
        odd = bits % 8 != 0 and (extra or layout.predictor)
        if not odd and not (planar and one_channel) and not (bits == 32 and layout.predictor):
            yield layout if photometric != PALETTE else with_tag(layout, 320, *palette(bits))


def is_ambiguous(layout: Layout) -> bool:
    """No two readers agree on it, or Pillow reads no directory of that kind."""
    negative = layout.photometric == WHITE_IS_0 and ALPHA_PREMULTIPLIED in layout.extra
    return negative or (layout.big and layout.order == ">")


def palette(bits: int) -> list[int]:
    return [int(value) * 257 for value in np.random.default_rng(bits).integers(0, 256, 3 << bits)]


def values_of(layout: Layout) -> Values:
    channels = COLOURS[layout.photometric] + len(layout.extra)
    rng = np.random.default_rng(layout.bits)
    values = rng.integers(0, 1 << layout.bits, (HEIGHT, WIDTH, channels), dtype=np.uint64)
    if layout.extra[:1] == (ALPHA_PREMULTIPLIED,):  # no colour is above its alpha
        colours = COLOURS[layout.photometric]
        values[:, :, :colours] = np.minimum(values[:, :, :colours], values[:, :, colours, None])
    return values.astype(np.uint32)


def meant(layout: Layout, values: Values) -> tuple[NDArray[np.float64], NDArray[np.float64] | None]:
    """RGB (H, W, 3) and alpha (H, W), 0…1, by the words of TIFF 6.0."""
    shares = values / ((1 << layout.bits) - 1)
    count = COLOURS[layout.photometric]
    colours, alpha = shares[:, :, :count], None
    if layout.photometric == WHITE_IS_0:
        colours = 1 - colours
    if layout.photometric == PALETTE:
        table = np.array(palette(layout.bits)).reshape(3, -1) / 65_535
        colours = table[:, values[:, :, 0]].transpose(1, 2, 0)
    if layout.photometric == INKS:
        colours = (1 - colours[:, :, :3]) * (1 - colours[:, :, 3:])
    if layout.extra and layout.extra[0] != 0:
        alpha = shares[:, :, count]
        if layout.extra[0] == ALPHA_PREMULTIPLIED:
            colours = np.divide(
                colours, alpha[..., None], out=np.zeros_like(colours), where=alpha[..., None] > 0
            )
    return np.broadcast_to(colours, (HEIGHT, WIDTH, 3)), alpha


def shows(photo: Photo, layout: Layout, values: Values) -> bool:
    """The photo is what was meant, to the last bit that the result has."""
    colours, alpha = meant(layout, values)
    top = 255 if photo.deep is None else 65_535
    seen = photo.pixels if photo.deep is None else photo.deep[:, :, :3]
    mask = photo.alpha if photo.deep is None or photo.alpha is None else photo.deep[:, :, 3]
    off = 2.0 if layout.photometric == INKS else 0.51
    off += 0.5 if layout.bits == 12 else 0.0  # widened by repeating bits
    same = bool(np.abs(seen - colours * top).max() <= off)
    if alpha is None or mask is None:
        return same and alpha is None and mask is None
    return same and bool(np.abs(mask - alpha * top).max() <= off)


def second_reader(data: bytes) -> NDArray[np.uint32]:
    with tifffile.TiffFile(io.BytesIO(data)) as file:
        return file.pages[0].asarray().astype(np.uint32)  # type: ignore[union-attr]


def outcome(layout: Layout) -> str:
    values = values_of(layout)
    data = tiff_of(values, layout)
    try:
        photo = decode(data, Limits())
    except UnsupportedImage:
        return "refused"
    if layout.bits in {1, 8, 16} and layout.photometric != YCBCR:
        seen = second_reader(data)
        seen = seen.reshape(-1, HEIGHT, WIDTH) if layout.planar else seen.reshape(HEIGHT, WIDTH, -1)
        np.testing.assert_array_equal(
            seen.transpose(1, 2, 0) if layout.planar else seen, values, err_msg=str(layout)
        )
    return "equal" if shows(photo, layout, values) else "wrong"


@pytest.mark.parametrize(("bits", "photometric"), FAMILIES)
def test_a_layout_gives_its_picture_or_is_refused(bits: int, photometric: int) -> None:
    outcomes = {str(layout): outcome(layout) for layout in layouts(bits, photometric)}
    assert [name for name, said in outcomes.items() if said == "wrong"] == []
    if (bits, photometric) in READ:
        assert "equal" in outcomes.values()
    if bits in {8, 16} and photometric in {WHITE_IS_0, BLACK_IS_0, RGB}:
        refused = {str(layout) for layout in layouts(bits, photometric) if is_ambiguous(layout)}
        assert {name for name, said in outcomes.items() if said != "equal"} == refused


@pytest.mark.parametrize(("order", "tile"), [("<", None), (">", None), ("<", 16), (">", 32)])
def test_a_16_bit_planar_tiff_is_not_scrambled(order: str, tile: int | None) -> None:
    layout = Layout(16, RGB, order, planar=True, tile=tile, rows=None if tile else 5)
    values = values_of(layout)
    photo = decode(tiff_of(values, layout), Limits())
    np.testing.assert_array_equal(photo.deep, values)


@pytest.mark.parametrize("compression", ["raw", "deflate"])
@pytest.mark.parametrize("order", ["<", ">"])
def test_a_16_bit_tiff_where_white_is_0_is_no_negative(order: str, compression: str) -> None:
    layout = Layout(16, WHITE_IS_0, order, compression=compression)
    values = values_of(layout)
    photo = decode(tiff_of(values, layout), Limits())
    np.testing.assert_array_equal(photo.deep, np.repeat(65_535 - values, 3, axis=2))


@pytest.mark.parametrize(
    ("layout", "reason"),
    [
        (Layout(32, BLACK_IS_0, sample_format=3), "floating-point"),
        (Layout(8, BLACK_IS_0, sample_format=2), "signed"),
        (Layout(16, BLACK_IS_0, sample_format=2), "signed"),
        (Layout(32, RGB), "32 bits"),
        (Layout(8, LAB), "kind 8"),
        (Layout(8, 32803), "kind 32803"),
        (Layout(8, 34892), "kind 34892"),
        (Layout(8, YCBCR), "YCbCr without JPEG"),
        (with_tag(Layout(8, RGB), 254, 1), "thumbnail"),
        (with_tag(Layout(8, RGB), 50706, 1, 4, 0, 0), "raw data"),
        (with_tag(Layout(8, INKS), 332, 2), "inks"),
        (Layout(16, INKS, planar=True), "planes"),
        (with_tag(Layout(8, RGB), 259, 34712), "compression 34712"),
        (with_tag(Layout(8, RGB), 258, 8, 8, 16), "different depths"),
    ],
    ids=str,
)
def test_what_cannot_be_shown_right_is_refused_with_its_reason(layout: Layout, reason: str) -> None:
    channels = COLOURS.get(layout.photometric, 1 if layout.photometric == 32803 else 3)
    values = np.zeros((HEIGHT, WIDTH, channels), np.uint32)
    with pytest.raises(UnsupportedImage, match=reason):
        decode(tiff_of(values, layout), Limits())
