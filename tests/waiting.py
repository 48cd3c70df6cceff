"""Waiting for what is about to happen."""

from __future__ import annotations

import time
from collections.abc import Callable


def eventually(condition: Callable[[], object], within_s: float = 40) -> None:
    """Wait until it holds; the time allowed is mostly there to end a test that fails."""
    give_up = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < give_up, f"not within {within_s:.0f} s"
        time.sleep(0.01)
