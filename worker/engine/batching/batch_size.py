"""Measures the best batch size of a network on its device."""

from __future__ import annotations

import time
from collections.abc import Callable

#: The smallest size within this factor of the best time is chosen: its faces wait least.
_TOLERANCE = 1.05
_PAUSE_S = 0.05  # until the threads of the previous run no longer spin


def measure_batches(
    run: Callable[[int], object], limit: int, *, budget_s: float = 10.0, runs: int = 5
) -> dict[int, float]:
    """Return the seconds per face in batches of 1, 2, 4… up to ``limit``, by batch size.

    ``run`` restores that many faces at once. Larger sizes are tried while each is better than all
    before it, and while the next round fits in half of the budget. Then all sizes take turns, up to
    ``runs`` times, so that other load on the machine affects all of them. The best time of each
    size counts; its first run is not timed.
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
    """Return the smallest size whose time is nearly the best."""
    bound_s = _TOLERANCE * min(seconds_per_face.values())
    return min(size for size, seconds in seconds_per_face.items() if seconds <= bound_s)


def _seconds_per_face(run: Callable[[int], object], size: int) -> float:
    time.sleep(_PAUSE_S)
    start_s = time.perf_counter()
    run(size)
    return (time.perf_counter() - start_s) / size
