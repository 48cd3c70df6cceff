"""Cuts a picture into tiles; the network sees a margin around each, which is then dropped."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise


@dataclass(frozen=True, slots=True)
class Axis:
    """``length`` pixels; cuts fall on multiples of ``grid``, and ``margin`` is one."""

    length: int
    margin: int
    grid: int = 1

    def spans(self, side: int) -> list[Span]:
        """Equal parts of at most about ``side``.

        What is not longer than a part with its margins is left whole: cutting it would cost more
        than it saves.
        """
        whole = Span(self, 0, self.length)
        return whole.parts(1 if self.length <= side + 2 * self.margin else -(-self.length // side))


@dataclass(frozen=True, slots=True)
class Span:
    """``start`` to ``stop`` on an axis."""

    axis: Axis
    start: int
    stop: int

    @property
    def seen(self) -> slice:
        """With its margins, cut at the ends of the axis."""
        start = max(0, self.start - self.axis.margin)
        return slice(start, min(self.axis.length, self.stop + self.axis.margin))

    def place(self, scale: int = 1) -> slice:
        """Where it lies on an axis ``scale`` times as long."""
        return slice(self.start * scale, self.stop * scale)

    def kept(self, scale: int = 1) -> slice:
        """Where it lies in what was seen, ``scale`` times as long."""
        start = self.start - self.seen.start
        return slice(start * scale, (start + self.stop - self.start) * scale)

    def parts(self, count: int) -> list[Span]:
        """Cut into ``count`` parts, or fewer where the grid is too coarse."""
        length, grid = self.stop - self.start, self.axis.grid
        cuts = [self.start + length * part // count // grid * grid for part in range(count)]
        cuts.append(self.stop)
        return [Span(self.axis, a, b) for a, b in pairwise(cuts) if a < b]


@dataclass(frozen=True, slots=True)
class Tile:
    rows: Span
    columns: Span

    @property
    def side_px(self) -> int:
        """The longer one."""
        return max(s.stop - s.start for s in (self.rows, self.columns))

    @property
    def pixels(self) -> int:
        return (self.rows.stop - self.rows.start) * (self.columns.stop - self.columns.start)

    def quarters(self) -> list[Tile]:
        return [Tile(r, c) for r in self.rows.parts(2) for c in self.columns.parts(2)]


def tiles(height: int, width: int, *, side: int, margin: int, grid: int = 1) -> Iterator[Tile]:
    """Cover a picture once, row by row; see Axis for the rest."""
    for rows in Axis(height, margin, grid).spans(side):
        for columns in Axis(width, margin, grid).spans(side):
            yield Tile(rows, columns)
