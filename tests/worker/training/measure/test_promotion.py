"""A new model is promoted only if no figure falls by more than its margin."""

from __future__ import annotations

from dataclasses import replace

import pytest

from worker.training.measure.bars import BarsReport, Verdict
from worker.training.measure.promotion import Margins, compare, markdown, may_promote
from worker.training.measure.quality import Row

ROW = Row("restored", 27.0, 0.8, distance=0.4, lost=0.1, gradient=0.5, features=0.1)


def report(row: Row) -> BarsReport:
    return BarsReport({}, (Verdict("x4", 0, Row("degraded"), row, ()),))


def promoted(**new: float | None) -> bool:
    changed = replace(ROW, **new)  # type: ignore[arg-type]
    return may_promote(compare(report(ROW), report(changed), Margins()))


def test_the_same_model_may_be_promoted() -> None:
    assert promoted()


@pytest.mark.parametrize(
    "new",
    [
        {"psnr_db": 26.95},
        {"distance": 0.404},
        {"gradient": 0.49},
        {"features": 0.104},
        {"psnr_db": 40.0, "distance": 0.1, "gradient": 1.0},
    ],
)
def test_better_or_a_little_worse_is_good_enough(new: dict[str, float]) -> None:
    assert promoted(**new)


@pytest.mark.parametrize(
    "new",
    [
        {"psnr_db": 26.8},
        {"distance": 0.41},
        {"lost": 0.11},
        {"gradient": 0.45},
        {"features": 0.11},
        {"distance": None},
        {"psnr_db": 40.0, "lost": 0.2},
    ],
)
def test_one_figure_that_is_worse_is_enough_to_refuse(new: dict[str, float | None]) -> None:
    assert not promoted(**new)


def test_a_model_that_leaves_everything_alone_has_no_psnr_and_is_not_worse_for_it() -> None:
    assert promoted(psnr_db=None, ssim=1.0)


def test_the_table_marks_what_is_worse() -> None:
    comparisons = compare(report(ROW), report(replace(ROW, distance=0.5)), Margins())
    lines = markdown(comparisons, "old", "new").splitlines()
    assert lines[0] == "| recipe | figure | old | new | |"
    assert lines[3] == "| x4 | distance | 0.4 | 0.5 | worse |"
    assert "worse" not in lines[2]
