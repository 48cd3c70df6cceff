"""What the engine process says of its shadow, and whether the shadow is to blame for a crash.

The report crosses the control socket as JSON, so it names no type of the engine.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, Literal, Self

from shared.jobs.shadow_sums import ModelPair, ShadowFigures

CRASHED = "crashed"


@dataclass(frozen=True, slots=True)
class ShadowReport:
    """``pair.old`` is empty while the model is loaded. ``reason``: of a failure."""

    outcome: Literal["began", "loaded", "compared", "dropped", "failed"]
    pair: ModelPair
    reason: str = ""
    figures: ShadowFigures = field(default_factory=ShadowFigures)

    @classmethod
    def decode(cls, content: dict[str, Any]) -> Self:
        """Return the report that ``asdict`` made a JSON object."""
        pair, figures = ModelPair(**content["pair"]), ShadowFigures(**content["figures"])
        return cls(content["outcome"], pair, content["reason"], figures)


OnShadow = Callable[[ShadowReport], None]


class ShadowWatch:
    """What the worker knows of the shadow in one engine process. Not thread-safe."""

    def __init__(self) -> None:
        self._last: ShadowReport | None = None  # of the shadow's own thread

    def record(self, report: ShadowReport) -> None:
        if report.outcome == "dropped":
            return  # it comes from the thread of a job
        never_loaded = report.outcome == "failed" and not report.pair.old
        self._last = None if never_loaded else report

    def blame(self, *, killed: bool) -> ShadowReport | None:
        """Return the failure to count if the shadow may have ended the process.

        It may if it was at work, whatever thread crashed: it shares memory and device with all
        jobs. It may also if the process was ``killed`` from outside while the model was in memory,
        as the kernel does when memory runs out.
        """
        if self._last is None or not (killed or self._last.outcome == "began"):
            return None
        return replace(self._last, outcome="failed", reason=CRASHED, figures=ShadowFigures())
