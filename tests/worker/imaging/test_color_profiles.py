from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from tests.worker.engine.photos import file_of, ink_profile
from worker.imaging.color_profiles import profile_space
from worker.imaging.decode import decode
from worker.imaging.limits import Limits

CYAN = Image.new("CMYK", (32, 32), (255, 0, 0, 0))


@pytest.mark.parametrize("kind", ["jpeg", "tiff"])
def test_inks_are_converted_by_their_own_profile(kind: str) -> None:
    photo = decode(file_of(CYAN, kind, icc_profile=ink_profile()), Limits())
    middle = photo.pixels[16, 16].astype(int)
    assert np.ptp(middle) <= 3, "by this profile cyan ink is grey"
    assert 150 < middle[0] < 220
    assert photo.icc is None


def test_inks_with_a_profile_that_cannot_convert_are_converted_plainly() -> None:
    photo = decode(file_of(CYAN, "tiff", icc_profile=ink_profile(complete=False)), Limits())
    np.testing.assert_array_equal(photo.pixels[16, 16], (0, 255, 255))


def test_a_profile_says_what_it_describes() -> None:
    assert profile_space(ink_profile()) == "CMYK"
    assert profile_space(b"junk") is None
    assert profile_space(None) is None


def test_a_profile_for_inks_on_rgb_pixels_is_dropped_and_it_is_said() -> None:
    pixels = np.full((20, 20, 3), (10, 200, 30), np.uint8)
    photo = decode(file_of(pixels, "png", icc_profile=ink_profile()), Limits())
    assert photo.icc is None
    np.testing.assert_array_equal(photo.pixels, pixels)
    assert any("CMYK" in warning for warning in photo.warnings)
