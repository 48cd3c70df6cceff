"""A photo made larger, with all that belongs to one; and what is refused before any work."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from shared.errors import ImageTooManyPixels, OptionUnavailable
from worker.engine.background.enlarger import Enlarger, Loaded, no_enlarger
from worker.engine.background.upscaler import Upscaler
from worker.engine.restoration import BackgroundUsed
from worker.imaging.decode import Photo

MakeUpscaler = Callable[..., Upscaler]


def unheard(_done: int, _total: int) -> None:
    """Nobody wants to know."""


@pytest.fixture
def enlarger(make_upscaler: MakeUpscaler) -> Enlarger:
    """Knows one upscaler only, which enlarges by four."""
    return Enlarger(lambda _scale: Loaded(make_upscaler(), "tiny", "0" * 64, "fp32"))


@pytest.mark.parametrize("scale", [2, 4])
def test_pixels_and_alpha_grow_and_the_rest_stays(
    enlarger: Enlarger, noise: NDArray[np.uint8], scale: int
) -> None:
    alpha = np.zeros((75, 93), np.uint8)
    alpha[:, 40:] = 255
    photo = Photo(noise, alpha, icc=b"profile", format="webp", warnings=("odd light",))
    large = enlarger.enlarge(photo, scale, unheard)
    assert large.pixels.shape == (75 * scale, 93 * scale, 3)
    assert large.alpha is not None
    assert large.alpha.shape == (75 * scale, 93 * scale)
    assert (large.alpha[:, : 38 * scale] == 0).all()
    assert (large.alpha[:, 42 * scale :] == 255).all()
    same = dataclasses.replace(large, pixels=photo.pixels, alpha=photo.alpha)
    assert same == photo


def test_sixteen_bits_are_enlarged_with_all_of_them(
    enlarger: Enlarger, noise: NDArray[np.uint8]
) -> None:
    alpha = noise[:, :, 0]
    colours = enlarger.enlarge(Photo(noise, alpha), 2, unheard).pixels
    deep = np.concatenate((noise, alpha[:, :, None]), axis=2).astype(np.uint16) * 257
    large = enlarger.enlarge(Photo(noise, alpha, deep=deep), 2, unheard)
    assert large.deep is not None
    assert large.alpha is not None
    assert (large.deep.dtype, large.deep.shape) == (np.uint16, (150, 186, 4))
    assert len(np.unique(large.deep[:, :, :3])) > 256
    assert np.abs(large.deep[:, :, :3] / 257 - large.pixels).max() <= 0.51
    assert np.abs(large.deep[:, :, 3] / 257 - large.alpha).max() <= 0.51
    assert np.abs(large.pixels.astype(int) - colours).max() <= 1
    without = enlarger.enlarge(Photo(noise, deep=deep[:, :, :3]), 2, unheard)
    assert without.alpha is None
    assert without.deep is not None
    assert (without.deep == large.deep[:, :, :3]).all()


def test_a_grey_photo_stays_grey(enlarger: Enlarger, noise: NDArray[np.uint8]) -> None:
    grey = np.repeat(noise[:, :, :1], 3, axis=2)
    tinted = enlarger.enlarge(Photo(grey), 4, unheard).pixels
    assert np.ptp(tinted, axis=2).max() > 5  # this network would tint it
    large = enlarger.enlarge(Photo(grey, grey=True), 4, unheard).pixels
    assert np.ptp(large, axis=2).max() == 0
    luma = tinted @ np.array([0.299, 0.587, 0.114])
    assert np.abs(large[:, :, 0] - luma).max() <= 1


def test_it_says_what_will_do_it(enlarger: Enlarger, noise: NDArray[np.uint8]) -> None:
    photo = Photo(noise)
    assert enlarger.prepare(photo, 4) == BackgroundUsed("tiny", "0" * 64, "fp32", 4, averaged=False)
    assert enlarger.prepare(photo, 2) == BackgroundUsed("tiny", "0" * 64, "fp32", 2, averaged=True)


def test_nothing_is_done_for_a_background_that_is_kept(noise: NDArray[np.uint8]) -> None:
    photo = Photo(noise)
    assert no_enlarger().prepare(photo, 1) is None
    assert no_enlarger().enlarge(photo, 1, unheard) is photo


def test_a_result_that_is_too_large_is_refused_before_anything_is_loaded() -> None:
    def load(scale: int) -> Loaded:
        pytest.fail(f"loaded for x{scale}")

    enlarger = Enlarger(load, max_pixels=1600 * 1200)
    photo = Photo(np.zeros((301, 400, 3), np.uint8))
    with pytest.raises(ImageTooManyPixels, match="1600 x 1204 px of this photo; 1920000 px in all"):
        enlarger.prepare(photo, 4)
    with pytest.raises(ImageTooManyPixels, match=r"smaller background \(x2 or keep\)"):
        enlarger.enlarge(photo, 4, unheard)


def test_without_an_upscaler_it_says_so(noise: NDArray[np.uint8]) -> None:
    with pytest.raises(OptionUnavailable, match="background x2"):
        no_enlarger().prepare(Photo(noise), 2)


def test_progress_is_told_in_pixels_of_the_photo(
    make_upscaler: MakeUpscaler, noise: NDArray[np.uint8]
) -> None:
    told: list[tuple[int, int]] = []
    loaded = Loaded(make_upscaler(tile_px=16), "tiny", "0" * 64, "fp32")
    Enlarger(lambda _: loaded).enlarge(Photo(noise), 2, lambda *pixels: told.append(pixels))
    assert len(told) > 4
    assert told[-1] == (75 * 93, 75 * 93)
