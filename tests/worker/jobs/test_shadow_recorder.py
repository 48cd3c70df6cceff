"""What the shadow reports arrives in the metrics and in Redis, and its reporter never waits."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest
from prometheus_client import REGISTRY
from redis import Redis

from deploy.embedded.child_process import free_port
from shared.jobs.shadow_sums import ModelPair, ShadowFigures, ShadowRecord, ShadowSums
from shared.redis.scripts import Scripts
from shared.settings import Settings
from tests.waiting import eventually
from worker.engine_process.shadow_report import CRASHED, ShadowReport
from worker.jobs.shadow_recorder import ShadowRecorder

pytestmark = pytest.mark.usefixtures("redis")
PAIR = ModelPair("new", "1" * 64, "old", "2" * 64)
COMPARED = ShadowReport("compared", PAIR, figures=ShadowFigures(jobs=1, new_sharper=2))


@pytest.fixture
def recorder(settings: Settings) -> ShadowRecorder:
    return ShadowRecorder(settings.model_copy(update={"shadow_model": "new"}))


@pytest.fixture
def latest(scripts: Scripts) -> Callable[[], ShadowRecord | None]:
    return lambda: ShadowSums(scripts).latest("new", "old")


def sample(name: str, **labels: str) -> float | None:
    return REGISTRY.get_sample_value(name, {"model": "new", "over": "old"} | labels)


def test_each_report_is_added_to_the_sums(
    recorder: ShadowRecorder, latest: Callable[[], ShadowRecord | None]
) -> None:
    for report in (
        ShadowReport("began", PAIR),
        COMPARED,
        ShadowReport("dropped", PAIR),
        ShadowReport("failed", PAIR, "internal"),
    ):
        recorder.record(report)
    eventually(lambda: (found := latest()) and found.failed)
    assert latest() == ShadowRecord(PAIR, COMPARED.figures, dropped=1, failed={"internal": 1})


def test_each_report_is_in_the_metrics(recorder: ShadowRecorder) -> None:
    runs = {"outcome": "failed", "reason": "out-of-memory"}
    before = sample("facemend_shadow_figures_total", figure="new_sharper") or 0
    recorder.record(COMPARED)
    recorder.record(ShadowReport("failed", PAIR, "out-of-memory"))
    assert sample("facemend_shadow_figures_total", figure="new_sharper") == before + 2
    assert sample("facemend_shadow_runs_total", **runs) == 1
    assert sample("facemend_shadow_runs_total", outcome="began", reason="") is None


def test_a_failure_to_load_is_counted_though_it_is_of_no_job(
    recorder: ShadowRecorder, redis: Redis
) -> None:
    recorder.record(ShadowReport("failed", ModelPair("new", "", "", ""), "weights-missing"))
    recorder.record(COMPARED)
    eventually(lambda: len(redis.keys("fm:shadow:*")) == 2)
    assert sample("facemend_shadow_runs_total", over="", outcome="failed", reason="weights-missing")


def test_a_crash_is_exported_as_0_before_the_first_one(settings: Settings) -> None:
    ShadowRecorder(settings.model_copy(update={"shadow_model": "zeroed", "served_models": ("a",)}))
    labels = {"model": "zeroed", "over": "a", "outcome": "failed", "reason": CRASHED}
    assert REGISTRY.get_sample_value("facemend_shadow_runs_total", labels) == 0


def test_without_redis_the_reporter_does_not_wait_and_the_report_is_lost(
    settings: Settings, log_lines: Callable[[], list[dict[str, Any]]]
) -> None:
    away = {"redis_url": f"redis://127.0.0.1:{free_port()}/0", "shadow_model": "new"}
    recorder = ShadowRecorder(Settings(_env_file=None, **away))
    began_s = time.monotonic()
    for _ in range(5):
        recorder.record(COMPARED)
    assert time.monotonic() - began_s < 1
    eventually(lambda: "a report of the shadow is lost" in str(log_lines()))
