"""What crosses from the decoder child to us: whole and right, or not at all."""

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
from worker.decoder import Decoded, Header, photo_of
from worker.decoder import result_file as parcel
from worker.decoder.pixels import pack
from worker.imaging.decode import Photo

HEADER = Header(width=60, height=40, format="png", warnings=("one", "two"))


@pytest.fixture
def memory() -> Iterator[int]:
    fd = parcel.memory_file("test")
    yield fd
    os.close(fd)


def say(memory: int, said: object) -> None:
    parcel.write(memory, json.dumps(said).encode().ljust(parcel.HEAD_BYTES, b"\0"))
    os.ftruncate(memory, 10_000_000)


@pytest.mark.parametrize("deep", [False, True])
@pytest.mark.parametrize("alpha", [False, True])
@pytest.mark.parametrize("icc", [None, b"a profile"])
def test_a_photo_crosses_whole(memory: int, deep: bool, alpha: bool, icc: bytes | None) -> None:
    samples = np.random.default_rng(1).integers(0, 65_536, (40, 60, 4)).astype(np.uint16)
    photo = Photo(
        gradient(),
        alpha=gradient()[:, :, 1] if alpha else None,
        icc=icc,
        grey=True,
        format="webp",
        warnings=("a warning", "and ünother"),
        deep=(samples if alpha else samples[:, :, :3]) if deep else None,
    )
    pack(photo, memory)
    again = photo_of(Decoded(os.dup(memory)))
    for field in ("pixels", "alpha", "deep"):
        np.testing.assert_array_equal(getattr(again, field), getattr(photo, field))
    for field in ("icc", "grey", "format", "warnings"):
        assert getattr(again, field) == getattr(photo, field)


def test_the_photo_outlives_its_memory_files_number(memory: int) -> None:
    pack(Photo.of_pixels(gradient()), memory)
    decoded = Decoded(os.dup(memory))
    photo = photo_of(decoded)
    decoded.close()
    decoded.close()
    photo.pixels[0, 0] = 1
    np.testing.assert_array_equal(photo.pixels[1:], gradient()[1:])


def test_a_header_says_all_but_the_pixels(memory: int) -> None:
    parcel.write_header(memory, HEADER)
    assert Decoded(os.dup(memory)).header == HEADER


def test_an_error_crosses_as_itself(memory: int) -> None:
    parcel.write_error(memory, ImageTooManyPixels("far too many"))
    with pytest.raises(ImageTooManyPixels, match="far too many"):
        Decoded(memory)


def test_no_other_error_crosses(memory: int) -> None:
    class Sly(FacemendError):
        pass

    parcel.write_error(memory, Sly("x"))
    with pytest.raises(CorruptImage, match="nothing that can be read"):
        Decoded(memory)


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
        {"warnings": [1]},
        {"warnings": ["x"] * 9},
        {"warnings": None},
    ],
)
def test_a_header_that_cannot_be_is_refused(memory: int, changes: dict[str, Any]) -> None:
    say(memory, {"photo": asdict(HEADER) | changes})
    with pytest.raises(CorruptImage, match="nothing that can be read"):
        Decoded(memory)


@pytest.mark.parametrize("missing", asdict(HEADER))
def test_a_header_without_a_field_is_refused(memory: int, missing: str) -> None:
    said = asdict(HEADER)
    del said[missing]
    say(memory, {"photo": said})
    with pytest.raises(CorruptImage, match="nothing that can be read"):
        Decoded(memory)


def test_more_than_there_is_cannot_be_claimed(memory: int) -> None:
    say(memory, {"photo": asdict(replace(HEADER, width=100_000))})
    with pytest.raises(CorruptImage, match="less than it said"):
        Decoded(memory)


def test_parts_do_not_overlap() -> None:
    header = replace(HEADER, width=61, height=41, alpha=True, deep=True, icc_bytes=7)
    parts = sorted(header.parts().values(), key=lambda part: part.start)
    assert parts[0].start == parcel.HEAD_BYTES
    for one, following in pairwise(parts):
        assert one.start + one.size <= following.start
        assert following.start % 64 == 0
    assert header.end == parts[-1].start + 7
