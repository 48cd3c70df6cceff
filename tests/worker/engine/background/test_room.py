"""What a result's format can hold is known before any work; the comparison shows equal sizes."""

from __future__ import annotations

import numpy as np
import pytest

from shared.errors import ImageTooManyPixels
from worker.imaging.decode import Format, Photo
from worker.imaging.encode import comparison, encode, require_room


@pytest.mark.parametrize(
    ("read_as", "wanted", "scale", "fits"),
    [
        ("webp", "same", 2, True),
        ("webp", "same", 4, False),
        ("png", "same", 4, True),
        ("png", "webp", 4, False),
        ("webp", "png", 4, True),
        ("jpeg", "same", 4, True),
        ("gif", "jpeg", 16, False),
    ],
)
def test_a_format_without_room_is_refused(
    read_as: Format, wanted: str, scale: int, fits: bool
) -> None:
    photo = Photo(np.zeros((1, 4100, 3), np.uint8), format=read_as)
    if fits:
        require_room(photo, wanted, scale)
    else:
        with pytest.raises(
            ImageTooManyPixels, match=rf"the result has {4100 * scale}: ask for PNG"
        ):
            require_room(photo, wanted, scale)


def test_encoding_refuses_it_too() -> None:
    with pytest.raises(ImageTooManyPixels, match="webp holds 16383 px a side"):
        encode(Photo(np.zeros((1, 16_384, 3), np.uint8)), "webp", 90)


def test_before_is_shown_as_large_as_after() -> None:
    before = np.zeros((10, 20, 3), np.uint8)
    before[:, 10:] = 255
    after = np.full((20, 40, 3), 7, np.uint8)
    pair = comparison(before, after)
    assert pair.shape == (20, 88, 3)
    assert (pair[:, :17] == 0).all()
    assert (pair[:, 23:48] == 255).all()
    assert (pair[:, 48:] == 7).all()
