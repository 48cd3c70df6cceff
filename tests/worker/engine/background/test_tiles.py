"""Tiles cover a picture once, and have margins around them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from worker.engine.background.tiles import Axis, Span, tiles


@settings(deadline=None)
@given(
    shape=st.tuples(st.integers(1, 60), st.integers(1, 60)),
    side=st.integers(1, 40),
    margin=st.integers(0, 20),
    grid=st.integers(1, 2),
    scale=st.integers(1, 4),
)
def test_tiles_put_together_what_they_saw(
    shape: tuple[int, int], side: int, margin: int, grid: int, scale: int
) -> None:
    height, width, side, margin = (n * grid for n in (*shape, side, margin))
    picture = np.arange(height * width).reshape(height, width)
    large = picture.repeat(scale, 0).repeat(scale, 1)
    answer, times = np.zeros_like(large), np.zeros_like(large)
    for tile in tiles(height, width, side=side, margin=margin, grid=grid):
        assert tile.rows.seen.start % grid == tile.columns.seen.start % grid == 0
        seen = picture[tile.rows.seen, tile.columns.seen].repeat(scale, 0).repeat(scale, 1)
        place = tile.rows.place(scale), tile.columns.place(scale)
        answer[place] = seen[tile.rows.kept(scale), tile.columns.kept(scale)]
        times[place] += 1
    assert (answer == large).all()
    assert (times == 1).all()


def test_a_tile_has_its_whole_margin_except_at_the_ends_of_the_picture() -> None:
    seen = [(s.start, s.stop, s.seen.start, s.seen.stop) for s in Axis(100, 8).spans(25)]
    assert seen == [(0, 25, 0, 33), (25, 50, 17, 58), (50, 75, 42, 83), (75, 100, 67, 100)]


def test_a_picture_that_fits_with_its_margins_is_one_tile() -> None:
    assert len(Axis(41, 8).spans(25)) == 1
    assert len(Axis(42, 8).spans(25)) == 2


@pytest.mark.parametrize(("grid", "parts"), [(1, [(3, 4), (4, 6)]), (4, [(3, 6)])])
def test_a_span_is_halved_as_far_as_the_grid_lets_it(
    grid: int, parts: list[tuple[int, int]]
) -> None:
    halves = Span(Axis(9, 2, grid), 3, 6).parts(2)
    assert [(s.start, s.stop) for s in halves] == parts


def test_quarters_cover_the_tile() -> None:
    (tile,) = tiles(7, 1, side=50, margin=2)
    quarters = tile.quarters()
    assert [(q.rows.start, q.rows.stop) for q in quarters] == [(0, 3), (3, 7)]
    assert sum(q.pixels for q in quarters) == tile.pixels == 7
    assert tile.side_px == 7
