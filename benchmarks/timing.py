"""Times of candidates that run in turns, so that other load on the machine affects all of them."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

_PAUSE_S = 0.05  # until the threads of the previous candidate stop spinning


@dataclass(frozen=True, slots=True)
class Times:
    """Seconds of each repetition."""

    seconds: tuple[float, ...]

    @property
    def median_s(self) -> float:
        return statistics.median(self.seconds)

    @property
    def best_s(self) -> float:
        """The shortest time, which other load on the machine affects least."""
        return min(self.seconds)

    @property
    def spread(self) -> float:
        """The slowest time minus the fastest, as a share of the median."""
        return (max(self.seconds) - min(self.seconds)) / self.median_s


def time_in_turns(
    candidates: Mapping[str, Callable[[], object]], repetitions: int
) -> dict[str, Times]:
    """Run each candidate once untimed, then all of them in turns, ``repetitions`` times."""
    for run in candidates.values():
        run()
    seconds: dict[str, list[float]] = {name: [] for name in candidates}
    for _ in range(repetitions):
        for name, run in candidates.items():
            time.sleep(_PAUSE_S)
            start_s = time.perf_counter()
            run()
            seconds[name].append(time.perf_counter() - start_s)
    return {name: Times(tuple(each)) for name, each in seconds.items()}
