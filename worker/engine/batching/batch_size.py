"""How many faces at a time: by measurement, not by belief."""

from __future__ import annotations

import time
from collections.abc import Callable

#: Of sizes that are as good as the best, within this, the smallest is taken: it waits least.
_AS_GOOD = 1.05
_PAUSE_S = 0.05  # threads of another size's run stop spinning


def measure_batches(
    run: Callable[[int], object], limit: int, *, budget_s: float = 10.0, runs: int = 5
) -> dict[int, float]:
    """Seconds a face in batches of 1, 2, 4… up to ``limit``; ``run`` restores that many at once.

    Larger ones are tried as long as the last was better than all before it, and another round
    would stay within half of the budget. Then all take turns, up to ``runs`` times, so that what
    the machine does beside hits all of them. The best of each counts, its first run is not timed.
    """
    start_s, found, size = time.monotonic(), dict[int, float](), 1
    while size <= limit:
        run(size)
        found[size] = _seconds_per_face(run, size)
        is_best = found[size] == min(found.values())
        if not is_best or time.monotonic() - start_s + 4 * size * found[size] > budget_s / 2:
            break
        size *= 2
    round_s = sum(size * seconds for size, seconds in found.items())
    for _ in range(runs - 1):
        if len(found) == 1 or time.monotonic() - start_s + round_s > budget_s:
            break
        for size, seconds in found.items():
            found[size] = min(seconds, _seconds_per_face(run, size))
    return found


def best_batch(seconds_per_face: dict[int, float]) -> int:
    """The smallest size that is as good as the best."""
    bound_s = _AS_GOOD * min(seconds_per_face.values())
    return min(size for size, seconds in seconds_per_face.items() if seconds <= bound_s)


def _seconds_per_face(run: Callable[[int], object], size: int) -> float:
    time.sleep(_PAUSE_S)
    start_s = time.perf_counter()
    run(size)
    return (time.perf_counter() - start_s) / size
