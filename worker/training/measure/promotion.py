"""Whether a new model may take the place of an old one: a table, and how much worse it may be."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from worker.training.measure.bars import BarsReport
from worker.training.measure.quality import Row


@dataclass(frozen=True)
class Margins:
    """How much worse the new model may be, in each recipe."""

    psnr_db: float = 0.1
    distance: float = 0.005
    lost: float = 0.0
    gradient: float = 0.02
    features: float = 0.005


@dataclass(frozen=True)
class Comparison:
    """One figure of one recipe, of both models. ``worse``: by more than the margin."""

    recipe: str
    figure: str
    old: float | None
    new: float | None
    worse: bool


#: Figure, and whether a higher one is better.
_FIGURES = (
    ("psnr_db", True),
    ("distance", False),
    ("lost", False),
    ("gradient", True),
    ("features", False),
)


def compare(old: BarsReport, new: BarsReport, margins: Margins) -> list[Comparison]:
    """Return every figure of both models; a figure that only the old one has counts as worse."""
    found = []
    for before, after in zip(old.verdicts, new.verdicts, strict=True):
        for figure, higher_is_better in _FIGURES:
            pair = getattr(before.restored, figure), getattr(after.restored, figure)
            margin = getattr(margins, figure)
            worse = _is_worse(*pair, margin, higher_is_better)
            if figure == "psnr_db" and _is_untouched(after.restored):
                worse = False
            found.append(Comparison(before.recipe, figure, *pair, worse))
    return found


def may_promote(comparisons: Sequence[Comparison]) -> bool:
    """Whether no figure is worse by more than its margin."""
    return not any(each.worse for each in comparisons)


def markdown(comparisons: Sequence[Comparison], old: str, new: str) -> str:
    """Return the table for a person."""
    lines = [f"| recipe | figure | {old} | {new} | |", "|---|---|---|---|---|"]
    for each in comparisons:
        verdict = "worse" if each.worse else ""
        cells = (each.recipe, each.figure, _cell(each.old), _cell(each.new), verdict)
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def as_dicts(comparisons: Sequence[Comparison]) -> list[dict[str, Any]]:
    """Return plain data for JSON."""
    return [asdict(each) for each in comparisons]


def _is_worse(old: float | None, new: float | None, margin: float, higher_is_better: bool) -> bool:
    if old is None or new is None:
        return old is not None
    loss = old - new if higher_is_better else new - old
    return loss > margin + 1e-9


def _is_untouched(row: Row) -> bool:
    """Equal pictures have no PSNR."""
    return row.psnr_db is None and row.ssim == 1.0


def _cell(value: float | None) -> str:
    return "" if value is None else f"{value:.4g}"
