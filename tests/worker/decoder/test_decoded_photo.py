"""The result file of a decoder child: read whole and right, or refused."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import asdict, replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from shared.errors import CorruptImage, FacemendError, ImageTooManyPixels
from tests.worker.engine.photos import gradient
from worker.decoder import DecodedPhoto, Header, decoded_photo, memory_file, photo_of
from worker.decoder.photo_arrays import write_photo
from worker.imaging.decode import Photo

HEADER = Header(width=60, height=40, format="png", warnings=("one", "two"))


@pytest.fixture
def file() -> Iterator[int]:
    fd = memory_file.create("test")
    yield fd
    os.close(fd)


def write_head(file: int, content: object) -> None:
    head = json.dumps(content).encode().ljust(decoded_photo.HEAD_BYTES, b"\0")
    memory_file.write(file, head)
    os.ftruncate(file, 10_000_000)


@pytest.mark.parametrize("deep", [False, True])
@pytest.mark.parametrize("alpha", [False, True])
@pytest.mark.parametrize("icc", [None, b"a profile"])
def test_a_photo_is_read_as_it_was_written(
    file: int, deep: bool, alpha: bool, icc: bytes | None
) -> None:
    samples = np.random.default_rng(1).integers(0, 65_536, (40, 60, 4)).astype(np.uint16)
    photo = Photo(
        gradient(),
        alpha=gradient()[:, :, 1] if alpha else None,
        icc=icc,
        grey=True,
        format="webp",
        warnings=("a warning", "and ünother"),
        deep=(samples if alpha else samples[:, :, :3]) if deep else None,
        dpi=(600.0, 299.5) if alpha else None,
        colour_chunks=b"some chunks" if alpha else b"",
        lossless=alpha,
        coded=b"a whole file" if alpha else None,
    )
    write_photo(photo, file)
    read = photo_of(DecodedPhoto(os.dup(file)))
    for field in ("pixels", "alpha", "deep"):
        np.testing.assert_array_equal(getattr(read, field), getattr(photo, field))
    for field in ("icc", "grey", "format", "warnings", "dpi", "colour_chunks", "lossless", "coded"):
        assert getattr(read, field) == getattr(photo, field)


def test_the_photo_outlives_the_descriptor_of_its_file(file: int) -> None:
    write_photo(Photo.of_pixels(gradient()), file)
    decoded = DecodedPhoto(os.dup(file))
    photo = photo_of(decoded)
    decoded.close()
    decoded.close()
    photo.pixels[0, 0] = 1
    np.testing.assert_array_equal(photo.pixels[1:], gradient()[1:])


def test_a_header_is_read_as_it_was_written(file: int) -> None:
    decoded_photo.write_header(file, HEADER)
    assert DecodedPhoto(os.dup(file)).header == HEADER


def test_an_error_keeps_its_type(file: int) -> None:
    decoded_photo.write_error(file, ImageTooManyPixels("far too many"))
    with pytest.raises(ImageTooManyPixels, match="far too many"):
        DecodedPhoto(file)


def test_an_error_of_an_unknown_type_is_refused(file: int) -> None:
    class Unknown(FacemendError):
        pass

    decoded_photo.write_error(file, Unknown("x"))
    with pytest.raises(CorruptImage, match="cannot be read"):
        DecodedPhoto(file)


@pytest.mark.parametrize(
    "changes",
    [
        {"width": 0},
        {"width": -60},
        {"width": 60.0},
        {"width": True},
        {"width": "60"},
        {"height": 10**400},
        {"format": "exe"},
        {"format": ["png"]},
        {"icc_bytes": -5},
        {"icc_bytes": 10**9},
        {"chunk_bytes": 10**6},
        {"coded_bytes": -1},
        {"dpi": 600},
        {"dpi": [600]},
        {"dpi": [600, 0]},
        {"dpi": [600, float("nan")]},
        {"warnings": [1]},
        {"warnings": ["x"] * 9},
        {"warnings": None},
    ],
)
def test_an_impossible_header_is_refused(file: int, changes: dict[str, Any]) -> None:
    write_head(file, {"photo": asdict(HEADER) | changes})
    with pytest.raises(CorruptImage, match="cannot be read"):
        DecodedPhoto(file)


@pytest.mark.parametrize("missing", asdict(HEADER))
def test_a_header_without_a_field_is_refused(file: int, missing: str) -> None:
    content = asdict(HEADER)
    del content[missing]
    write_head(file, {"photo": content})
    with pytest.raises(CorruptImage, match="cannot be read"):
        DecodedPhoto(file)


def test_a_header_that_claims_more_bytes_than_there_are_is_refused(file: int) -> None:
    write_head(file, {"photo": asdict(replace(HEADER, width=100_000))})
    with pytest.raises(CorruptImage, match="fewer bytes than its header says"):
        DecodedPhoto(file)


def test_regions_do_not_overlap() -> None:
    header = replace(HEADER, width=61, height=41, alpha=True, deep=True, icc_bytes=9, coded_bytes=7)
    regions = sorted(header.regions().values(), key=lambda region: region.start)
    assert regions[0].start == decoded_photo.HEAD_BYTES
    for one, following in pairwise(regions):
        assert one.start + one.size <= following.start
        assert following.start % 64 == 0
    assert header.end == regions[-1].start + 7
