from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from worker.engine.faces.retouching import calmed, with_colour_of
from worker.imaging.geometry import face_mask, template_points

SIZE = 128
MASK = face_mask(template_points("ffhq", SIZE), SIZE)
RNG = np.random.default_rng(4)
FACE = RNG.normal(120, 25, (SIZE, SIZE, 3)).clip(0, 255).astype(np.uint8)


def mean_and_spread(crop: NDArray[np.uint8]) -> tuple[NDArray[np.float64], ...]:
    inside = crop[MASK > 0.99].astype(float)
    return inside.mean(0), inside.std(0)


def test_a_tint_and_a_loss_of_contrast_are_undone() -> None:
    tinted = (0.7 * FACE + [60, 10, 0]).round().clip(0, 255).astype(np.uint8)
    for got, expected in zip(
        mean_and_spread(with_colour_of(FACE, tinted, MASK)), mean_and_spread(FACE), strict=True
    ):
        np.testing.assert_allclose(got, expected, atol=1)


def test_what_lies_beyond_the_mask_does_not_count() -> None:
    other = FACE.copy()
    other[MASK == 0] = 255
    np.testing.assert_array_equal(
        with_colour_of(other, FACE, MASK)[MASK > 0], with_colour_of(FACE, FACE, MASK)[MASK > 0]
    )
    np.testing.assert_array_equal(with_colour_of(FACE, FACE, MASK), FACE)


@pytest.mark.parametrize("level", [0, 90, 255])
def test_a_plain_has_no_contrast_to_match(level: int) -> None:
    plain = np.full_like(FACE, level)
    np.testing.assert_array_equal(with_colour_of(plain, plain, MASK), plain)
    assert with_colour_of(FACE, plain, MASK).std() < 3  # not blown up to the face's


def test_contrast_is_halved_or_doubled_at_most() -> None:
    faint = (120 + (FACE.astype(float) - 120) / 10).round().astype(np.uint8)
    for before, after, gain in ((faint, FACE, 0.5), (FACE, faint, 2.0)):
        _, spread = mean_and_spread(with_colour_of(before, after, MASK))
        np.testing.assert_allclose(spread / mean_and_spread(after)[1], gain, rtol=0.1)


def test_the_filter_calms_texture_and_keeps_edges() -> None:
    texture = RNG.integers(-6, 7, (SIZE, SIZE, 1))
    step = np.where(np.arange(SIZE) < SIZE // 2, 60, 190)[None, :, None] + texture
    crop = np.repeat(step, 3, axis=2).astype(np.uint8)
    calm = calmed(crop)
    assert calm[:, :60].std() < 0.6 * crop[:, :60].std()
    edge = SIZE // 2
    assert calm[:, edge].astype(int).min() - calm[:, edge - 1].astype(int).max() > 100
