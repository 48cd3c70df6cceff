"""How long each stage of a photo took."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager


class Laps:
    """Seconds spent on each stage; the stages take turns."""

    def __init__(self) -> None:
        self._spent_s = {"detect": 0.0, "restore": 0.0, "paste": 0.0}

    @contextmanager
    def lap(self, stage: str) -> Iterator[None]:
        start_s = time.monotonic()
        yield
        self._spent_s[stage] = self._spent_s.get(stage, 0.0) + time.monotonic() - start_s

    def ms(self) -> dict[str, int]:
        return {stage: round(spent_s * 1000) for stage, spent_s in self._spent_s.items()}
