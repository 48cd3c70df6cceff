"""The stages of one photo: the callback that reports them, and the timer that measures them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

#: Receives the stage, the faces done and the faces in total (None: not known yet). In the stage
#: ``enlarging`` both numbers count pixels. The callback may raise to stop the work.
OnProgress = Callable[[str, int, int | None], None]


class StageTimer:
    """Sums the wall time of each named stage; a stage may run several times."""

    def __init__(self, *stages: str) -> None:
        """``stages`` appear in the result even if they never run."""
        self._spent_s = dict.fromkeys(stages, 0.0)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Measure the block inside, also if it raises."""
        start_s = time.monotonic()
        try:
            yield
        finally:
            self._spent_s[name] = self._spent_s.get(name, 0.0) + time.monotonic() - start_s

    def add_ms(self, timings_ms: Mapping[str, float]) -> None:
        """Add times in milliseconds that were measured elsewhere."""
        for name, spent_ms in timings_ms.items():
            self._spent_s[name] = self._spent_s.get(name, 0.0) + spent_ms / 1000

    def timings_ms(self) -> dict[str, int]:
        """Milliseconds of each stage, in the order in which the stages first appeared."""
        return {name: round(spent_s * 1000) for name, spent_s in self._spent_s.items()}
