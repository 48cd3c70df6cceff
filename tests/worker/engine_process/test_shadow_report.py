"""Whether the shadow is to blame for the death of an engine process."""

from __future__ import annotations

import json
from dataclasses import asdict, replace

import pytest

from shared.jobs.shadow_sums import ModelPair, ShadowFigures
from worker.engine_process.shadow_report import CRASHED, ShadowReport, ShadowWatch

PAIR = ModelPair("new", "1" * 64, "old", "2" * 64)
LOADING = ModelPair("new", "", "", "")
BEGAN = ShadowReport("began", PAIR)


def watching(*reports: ShadowReport) -> ShadowWatch:
    watch = ShadowWatch()
    for report in reports:
        watch.record(report)
    return watch


def test_a_report_crosses_the_socket_as_json() -> None:
    report = ShadowReport("compared", PAIR, figures=ShadowFigures(jobs=1, old_sharpness=1.5))
    assert ShadowReport.decode(json.loads(json.dumps(asdict(report)))) == report


@pytest.mark.parametrize("at_work", [BEGAN, ShadowReport("began", LOADING)])
def test_at_work_or_loading_it_is_to_blame(at_work: ShadowReport) -> None:
    assert watching(at_work).blame(killed=False) == replace(
        at_work, outcome="failed", reason=CRASHED
    )


def test_a_dropped_job_is_no_end_of_the_work() -> None:
    watch = watching(BEGAN, ShadowReport("dropped", PAIR))
    assert watch.blame(killed=False) is not None


@pytest.mark.parametrize(
    "end",
    [
        ShadowReport("loaded", PAIR),
        ShadowReport("compared", PAIR, figures=ShadowFigures(jobs=1)),
        ShadowReport("failed", PAIR, "internal"),
    ],
)
def test_idle_it_is_to_blame_only_if_the_process_was_killed(end: ShadowReport) -> None:
    watch = watching(BEGAN, end)
    assert watch.blame(killed=False) is None
    blamed = watch.blame(killed=True)
    assert blamed is not None
    assert (blamed.outcome, blamed.reason) == ("failed", CRASHED)
    assert blamed.figures == ShadowFigures()


def test_what_is_not_in_memory_is_never_to_blame() -> None:
    assert watching().blame(killed=True) is None
    not_loaded = ShadowReport("failed", LOADING, "weights-missing")
    assert watching(ShadowReport("began", LOADING), not_loaded).blame(killed=True) is None
