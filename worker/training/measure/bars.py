"""The bars that a restorer has to meet before it ships, and the table that says whether it does.

Each figure can be fooled alone (an unsharp mask raises sharpness, blur raises PSNR), so a model
passes only if it meets all of them, for light, medium and heavy damage.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from worker.engine import Restorer
from worker.training.data.degradations import Image
from worker.training.data.photos import Photos
from worker.training.measure.quality import Judge, Row, of_model


@dataclass(frozen=True)
class Bar:
    """Limits for one recipe. None: not asked for. ``…_gain`` are over the degraded photo."""

    psnr_gain_db: float
    most_distance: float | None = None
    distance_gain: float | None = None
    most_lost: float = 0.0
    gradient: tuple[float, float] = (0.0, math.inf)
    most_features: float | None = None

    def misses(self, degraded: Row, restored: Row) -> list[str]:
        """Return what is not met, in words; what was not measured is not met."""
        checks = [
            ("PSNR", _over(restored.psnr_db, degraded.psnr_db, self.psnr_gain_db)),
            ("distance", _under(restored.distance, self._distance_limit(degraded))),
            ("lost", _under(restored.lost, self.most_lost)),
            ("gradient", _between(restored.gradient, self.gradient)),
            ("features", _under(restored.features, self.most_features)),
        ]
        return [name for name, met in checks if not met]

    def _distance_limit(self, degraded: Row) -> float | None:
        if self.distance_gain is None or degraded.distance is None:
            return self.most_distance
        limit = degraded.distance - self.distance_gain
        return limit if self.most_distance is None else min(limit, self.most_distance)


#: By recipe. ``light`` is measured through the rule that leaves sharp faces alone.
BARS = {
    "light": Bar(-0.3, most_distance=0.12, gradient=(0.65, math.inf)),
    "x4": Bar(0.7, distance_gain=0.01, gradient=(0.45, 1.15), most_features=0.100),
    "x8": Bar(1.0, most_distance=0.555, most_lost=0.20, gradient=(0.25, 1.15), most_features=0.174),
}


@dataclass(frozen=True)
class Verdict:
    """One recipe: the figures before and after, and which limits are missed."""

    recipe: str
    left_alone: int
    degraded: Row
    restored: Row
    misses: tuple[str, ...]


@dataclass(frozen=True)
class BarsReport:
    """All recipes, and what was measured."""

    about: dict[str, Any]
    verdicts: tuple[Verdict, ...]

    @property
    def passed(self) -> bool:
        """Whether every limit of every recipe is met."""
        return not any(verdict.misses for verdict in self.verdicts)

    def as_dict(self) -> dict[str, Any]:
        """Return plain data for JSON."""
        return {**self.about, "passed": self.passed, "recipes": [asdict(v) for v in self.verdicts]}

    def markdown(self) -> str:
        """Return a table for a model card: two rows for each recipe."""
        head = ", ".join(f"{key} {value}" for key, value in self.about.items())
        columns = "PSNR dB | SSIM | distance | lost | gradient | features | missed"
        lines = [f"| {head} | | {columns} |", f"|{'---|' * 9}"]
        for verdict in self.verdicts:
            missed = ", ".join(verdict.misses) or "none"
            lines.append(_line(verdict.recipe, "degraded", verdict.degraded, ""))
            name = f"restored ({verdict.left_alone} left alone)"
            lines.append(_line("", name, verdict.restored, missed))
        return "\n".join(lines)


def measure_bars(
    judge: Judge, restorer: Restorer, photos: Photos, recipes: Sequence[str] = tuple(BARS)
) -> tuple[BarsReport, dict[str, list[Image]]]:
    """Return the report, and by recipe the rows of a contact sheet.

    Raises DatasetError for photos that are too few or too small.
    """
    verdicts, sheets = [], {}
    about: dict[str, Any] = {}
    for recipe in recipes:
        table, sheets[recipe] = of_model(judge, restorer, photos, damage=recipe)
        degraded, restored = table.rows[:2]
        misses = tuple(BARS[recipe].misses(degraded, restored))
        verdicts.append(Verdict(recipe, table.about["left alone"], degraded, restored, misses))
        about = {key: table.about[key] for key in ("photos", "px", "model", "sha256", "backend")}
    return BarsReport(about, tuple(verdicts)), sheets


def _line(recipe: str, name: str, row: Row, missed: str) -> str:
    figures = [
        _cell(row.psnr_db, ".2f"),
        _cell(row.ssim, ".4f"),
        _cell(row.distance, ".3f"),
        _cell(row.lost, ".0%"),
        _cell(row.gradient, ".2f"),
        _cell(row.features, ".3f"),
    ]
    return f"| {recipe} | {name} | {' | '.join(figures)} | {missed} |"


def _cell(value: float | None, form: str) -> str:
    return "" if value is None else format(value, form)


def _over(value: float | None, base: float | None, gain: float) -> bool:
    if value is None or base is None:  # equal pictures have no PSNR, which is as near as can be
        return value is None
    return value >= base + gain


def _under(value: float | None, limit: float | None) -> bool:
    return limit is None or (value is not None and value <= limit + 1e-9)


def _between(value: float | None, limits: tuple[float, float]) -> bool:
    if limits == (0.0, math.inf):
        return True
    return value is not None and limits[0] <= value <= limits[1]
