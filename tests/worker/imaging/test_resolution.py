"""Dots per inch go through, in every format that says them."""

from __future__ import annotations

import io
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.worker.engine.photos import file_of, gradient
from tests.worker.imaging.tiff_files import RATIONAL, RGB, Layout, tiff_of
from worker.imaging.decode import Photo, decode
from worker.imaging.encode import encode, encode_result
from worker.imaging.limits import Limits

LIMITS = Limits()


def exif_of(x: float, y: float, unit: int = 2, orientation: int = 1) -> bytes:
    exif = Image.Exif()
    exif[282], exif[283], exif[296], exif[274] = x, y, unit, orientation
    return exif.tobytes()


def resolution_of(data: bytes) -> tuple[float, float] | None:
    return decode(data, LIMITS).dpi


FILES = {
    "JFIF": file_of(gradient(), "jpeg", dpi=(600, 300)),
    "JFIF and another EXIF": file_of(gradient(), "jpeg", dpi=(600, 300), exif=exif_of(72, 72)),
    "EXIF": file_of(gradient(), "jpeg", exif=exif_of(600, 300)),
    "EXIF in centimetres": file_of(
        gradient(), "jpeg", exif=exif_of(600 / 2.54, 300 / 2.54, unit=3)
    ),
    "EXIF of a WebP": file_of(gradient(), "webp", exif=exif_of(600, 300)),
    "pHYs": file_of(gradient(), "png", dpi=(600, 300)),
    "TIFF": file_of(gradient(), "tiff", dpi=(600, 300)),
    "JPEG in TIFF": file_of(gradient(), "tiff", compression="jpeg", dpi=(600, 300)),
    "16-bit TIFF": tiff_of(
        gradient().astype(np.uint32),
        Layout(
            16, RGB, tags=((282, RATIONAL, (600, 1)), (283, RATIONAL, (300, 1)), (296, 3, (2,)))
        ),
    ),
    "BMP": file_of(gradient(), "bmp", dpi=(600, 300)),
}


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("changed", [False, True])
def test_a_resolution_is_kept(name: str, changed: bool) -> None:
    before = decode(FILES[name], LIMITS)
    pixels = before.pixels.copy()
    pixels[0, 0] ^= np.uint8(255 * changed)
    after = replace(before, pixels=pixels)
    assert before.dpi == pytest.approx((600, 300), abs=0.1)
    result = encode_result(before, after, "same", 95)
    assert resolution_of(result.data) == pytest.approx((600, 300), abs=0.1)


@pytest.mark.parametrize("kind", ["jpeg", "png", "webp"])
def test_it_is_kept_in_another_format(kind: Any) -> None:
    photo = decode(FILES["TIFF"], LIMITS)
    assert resolution_of(encode(photo, kind, 95)) == pytest.approx((600, 300), abs=0.1)


@pytest.mark.parametrize("kind", ["jpeg", "png"])
def test_other_programs_read_it(kind: Any) -> None:
    with Image.open(io.BytesIO(encode(decode(FILES["EXIF"], LIMITS), kind, 95))) as image:
        assert image.info["dpi"] == pytest.approx((600, 300), abs=0.1)


def test_it_is_kept_in_16_bits() -> None:
    photo = decode(FILES["16-bit TIFF"], LIMITS)
    assert photo.deep is not None
    assert resolution_of(encode(photo, "png", 95)) == pytest.approx((600, 300), abs=0.1)


def test_a_photo_that_lay_on_its_side_swaps_it() -> None:
    data = file_of(gradient(), "jpeg", exif=exif_of(600, 300, orientation=6))
    assert resolution_of(data) == pytest.approx((300, 600))


@pytest.mark.parametrize(
    "data",
    [
        file_of(gradient(), "jpeg"),
        file_of(gradient(), "jpeg", exif=exif_of(600, 300, unit=1)),
        file_of(gradient(), "jpeg", exif=exif_of(0, 0)),
        file_of(gradient(), "webp"),
        file_of(gradient(), "png"),
    ],
    ids=["nothing", "no unit", "zero", "WebP", "PNG"],
)
def test_what_says_none_gets_none(data: bytes) -> None:
    photo = decode(data, LIMITS)
    assert photo.dpi is None
    for kind in ("jpeg", "png", "webp"):
        written = encode(photo, kind, 95)  # type: ignore[arg-type]
        assert resolution_of(written) is None


@pytest.mark.parametrize("dpi", [(0.6, 0.6), (65_535.0, 65_535.0)])
def test_the_ends_of_what_is_read_can_be_written(dpi: tuple[float, float]) -> None:
    for kind in ("jpeg", "png", "webp"):
        encode(Photo(gradient(), dpi=dpi), kind, 95)  # type: ignore[arg-type]
