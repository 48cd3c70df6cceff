"""The rule on widths and heights: each limit with its code, at its edge."""

from __future__ import annotations

from functools import partial

import pytest

from shared.errors import FacemendError, ImageTooManyPixels, UnsupportedImage
from shared.photo_size import require_size

require = partial(
    require_size, max_pixels=40_000_000, min_side_px=16, max_side_px=16_384, max_aspect=20.0
)


@pytest.mark.parametrize("size", [(16, 16), (16, 320), (16_384, 2_441)])
def test_a_photo_at_the_edge_of_a_limit_is_accepted(size: tuple[int, int]) -> None:
    require(*size)
    require(*reversed(size))


@pytest.mark.parametrize(
    ("size", "error", "reason"),
    [
        ((10_000, 9_000), ImageTooManyPixels, "40000000 px in total"),
        ((16_385, 1_000), ImageTooManyPixels, "16384 px per side"),
        ((20_000, 1), ImageTooManyPixels, "16384 px per side"),
        ((8, 8), UnsupportedImage, "16 px per side"),
        ((15, 40), UnsupportedImage, "16 px per side"),
        ((4_000, 20), UnsupportedImage, "20 times the shorter"),
    ],
)
def test_a_photo_beyond_a_limit_is_refused_with_the_limit(
    size: tuple[int, int], error: type[FacemendError], reason: str
) -> None:
    for turned in (size, size[::-1]):
        with pytest.raises(error, match=reason):
            require(*turned)
