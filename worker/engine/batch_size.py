"""How many faces at a time: by measurement, not by belief."""

from __future__ import annotations

import time
from collections.abc import Callable

#: Of sizes that are as good as the best, within this, the smallest is taken: it waits least.
_AS_GOOD = 1.02


def measure_batches(
    run: Callable[[int], object], limit: int, *, budget_s: float = 10.0, runs: int = 2
) -> dict[int, float]:
    """Seconds a face in batches of 1, 2, 4… up to ``limit``; ``run`` restores that many at once.

    Larger ones are tried as long as the last was better than all before it, and another round
    would stay within the budget. The best of ``runs`` counts; the first run of a size is not timed.
    """
    start_s, found = time.monotonic(), {}
    size = 1
    while size <= limit:
        run(size)
        found[size] = min(_timed(run, size) for _ in range(runs)) / size
        is_best = found[size] == min(found.values())
        next_s = (runs + 1) * 2 * size * found[size]
        if not is_best or time.monotonic() - start_s + next_s > budget_s:
            break
        size *= 2
    return found


def best_batch(seconds_per_face: dict[int, float]) -> int:
    """The smallest size that is as good as the best."""
    bound_s = _AS_GOOD * min(seconds_per_face.values())
    return min(size for size, seconds in seconds_per_face.items() if seconds <= bound_s)


def _timed(run: Callable[[int], object], size: int) -> float:
    start_s = time.perf_counter()
    run(size)
    return time.perf_counter() - start_s
