"""Keeps what the shadow of the engine process reports: in the metrics, and in the sums in Redis."""

from __future__ import annotations

import logging
import queue
import threading
from dataclasses import asdict

from shared.errors import Unavailable
from shared.jobs.shadow_sums import ShadowSums
from shared.settings import Settings
from shared.telemetry import SHADOW_FIGURES, SHADOW_RUNS
from worker.engine_process.shadow_report import CRASHED, ShadowReport

_log = logging.getLogger(__name__)
#: Reports that may wait for Redis; more are lost.
_MAX_WAITING = 1_000


class ShadowRecorder:
    """`record` returns at once: the thread that calls it must go on reading from the process."""

    def __init__(self, settings: Settings) -> None:
        self._sums = ShadowSums.connect(settings)
        self._waiting: queue.Queue[ShadowReport] = queue.Queue(_MAX_WAITING)
        if settings.shadow_model and settings.shadow_share:
            for over in settings.served_models or (settings.default_model,):
                _zero(settings.shadow_model, over)
            threading.Thread(target=self._write_all, name="shadow-sums", daemon=True).start()

    def record(self, report: ShadowReport) -> None:
        """Count a report, and have it added to the sums of its pair."""
        if report.outcome in {"began", "loaded"}:
            return
        pair = report.pair
        SHADOW_RUNS.labels(pair.new, pair.old, report.outcome, report.reason).inc()
        for figure, value in asdict(report.figures).items():
            if value:
                SHADOW_FIGURES.labels(pair.new, pair.old, figure).inc(value)
        if not pair.old:
            return  # it could not be loaded, so no job is concerned
        try:
            self._waiting.put_nowait(report)
        except queue.Full:
            _log.warning("a report of the shadow is lost: Redis has been away for too long")

    def _write_all(self) -> None:
        while True:
            report = self._waiting.get()
            try:
                self._write(report)
            except Unavailable as error:
                _log.warning("a report of the shadow is lost: %s", error.detail)

    def _write(self, report: ShadowReport) -> None:
        match report.outcome:
            case "compared":
                self._sums.add(report.pair, report.figures)
            case "dropped":
                self._sums.add_dropped(report.pair)
            case _:
                self._sums.add_failed(report.pair, report.reason)


def _zero(model: str, over: str) -> None:
    """Export failures as 0, so that an alert sees the first one."""
    for outcome, reason in (("compared", ""), ("dropped", ""), ("failed", CRASHED)):
        SHADOW_RUNS.labels(model, over, outcome, reason)
