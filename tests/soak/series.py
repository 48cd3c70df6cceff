"""A measured quantity over time, and whether it grows."""

from __future__ import annotations

import statistics
from dataclasses import dataclass, field
from itertools import combinations


@dataclass
class Series:
    """Values of one quantity, with their times in seconds.

    ``allowed``: by how much it may grow from the first sample to the last, in its unit;
    ``allowed_share``: the same as a share of its median. The larger one counts.
    """

    subject: str
    quantity: str
    unit: str
    allowed: float
    allowed_share: float = 0.0
    samples: list[tuple[float, float]] = field(default_factory=list)
    ended: bool = False  # the process did not live as long as the measurement

    def add(self, at_s: float, value: float) -> None:
        self.samples.append((at_s, value))

    @property
    def median(self) -> float:
        return statistics.median(value for _, value in self.samples)

    @property
    def growth(self) -> float:
        """The median of all slopes between two samples, times the whole time.

        A few peaks and falls do not change it (Sen, "Estimates of the Regression Coefficient Based
        on Kendall's Tau", 1968).
        """
        slopes = [(y - x) / (t - s) for (s, x), (t, y) in combinations(self.samples, 2) if t > s]
        return statistics.median(slopes) * (self.samples[-1][0] - self.samples[0][0])

    @property
    def bound(self) -> float:
        return max(self.allowed, self.allowed_share * self.median)

    @property
    def is_flat(self) -> bool:
        return not self.ended and self.growth <= self.bound


def table(series: list[Series]) -> str:
    """Return all series as a Markdown table."""
    lines = ["| process | quantity | first | median | last | growth | allowed | |"]
    lines.append("|---|---|---:|---:|---:|---:|---:|---|")
    for each in series:
        first, last = each.samples[0][1], each.samples[-1][1]
        numbers = (first, each.median, last, each.growth, each.bound)
        cells = " | ".join(f"{number:.1f}" for number in numbers)
        verdict = "ended" if each.ended else "flat" if each.is_flat else "GROWS"
        lines.append(f"| {each.subject} | {each.quantity}, {each.unit} | {cells} | {verdict} |")
    return "\n".join(lines)
