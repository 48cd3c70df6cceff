"""A model meets the bars only if it meets all of them."""

from __future__ import annotations

from dataclasses import replace

import pytest

from worker.training.measure.bars import BARS, BarsReport, Verdict
from worker.training.measure.quality import Row

INPUT = Row(
    "degraded", psnr_db=27.0, ssim=0.8, distance=0.40, lost=0.0, gradient=0.3, features=0.16
)
GOOD = Row("restored", psnr_db=27.8, ssim=0.8, distance=0.38, lost=0.0, gradient=0.6, features=0.09)


def test_a_model_that_is_good_in_everything_misses_nothing() -> None:
    assert BARS["x4"].misses(INPUT, GOOD) == []


@pytest.mark.parametrize(
    ("worse", "missed"),
    [
        ({"psnr_db": 27.6}, "PSNR"),
        ({"distance": 0.395}, "distance"),
        ({"lost": 0.0125}, "lost"),
        ({"gradient": 0.44}, "gradient"),
        ({"gradient": 1.2}, "gradient"),
        ({"features": 0.101}, "features"),
        ({"features": None}, "features"),
    ],
)
def test_each_figure_alone_is_enough_to_miss(worse: dict[str, float | None], missed: str) -> None:
    assert BARS["x4"].misses(INPUT, replace(GOOD, **worse)) == [missed]  # type: ignore[arg-type]


def test_light_damage_may_lose_a_little_and_asks_for_no_features() -> None:
    row = Row("restored", psnr_db=26.75, distance=0.1, lost=0.0, gradient=0.7)
    assert BARS["light"].misses(INPUT, row) == []
    assert BARS["light"].misses(INPUT, replace(row, psnr_db=26.6)) == ["PSNR"]


def test_unchanged_pictures_have_no_psnr_and_are_near_enough() -> None:
    row = replace(GOOD, psnr_db=None, distance=0.0, gradient=1.0)
    assert BARS["light"].misses(replace(INPUT, psnr_db=None), row) == []


def test_the_report_has_two_lines_for_each_recipe_and_says_what_is_missed() -> None:
    verdict = Verdict("x4", 3, INPUT, replace(GOOD, gradient=0.2), ("gradient",))
    report = BarsReport({"photos": 80}, (verdict,))
    assert not report.passed
    assert report.markdown().splitlines()[2:] == [
        "| x4 | degraded | 27.00 | 0.8000 | 0.400 | 0% | 0.30 | 0.160 |  |",
        "|  | restored (3 left alone) | 27.80 | 0.8000 | 0.380 | 0% | 0.20 | 0.090 | gradient |",
    ]
    assert report.as_dict()["recipes"][0]["misses"] == ("gradient",)
