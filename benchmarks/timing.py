"""Things to compare, timed in turns, so that what the machine does beside hits all of them."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

_PAUSE_S = 0.05  # threads of the one before stop spinning


@dataclass(frozen=True, slots=True)
class Times:
    """Seconds of each repetition."""

    seconds: tuple[float, ...]

    @property
    def median_s(self) -> float:
        return statistics.median(self.seconds)

    @property
    def best_s(self) -> float:
        """What is left when the machine does nothing else: tells apart what differs by little."""
        return min(self.seconds)

    @property
    def spread(self) -> float:
        """Slowest less fastest, as a share of the median."""
        return (max(self.seconds) - min(self.seconds)) / self.median_s


def time_in_turns(
    contestants: Mapping[str, Callable[[], object]], repetitions: int
) -> dict[str, Times]:
    """Each runs once untimed, then all in turns, ``repetitions`` times."""
    for run in contestants.values():
        run()
    seconds: dict[str, list[float]] = {name: [] for name in contestants}
    for _ in range(repetitions):
        for name, run in contestants.items():
            time.sleep(_PAUSE_S)
            start_s = time.perf_counter()
            run()
            seconds[name].append(time.perf_counter() - start_s)
    return {name: Times(tuple(each)) for name, each in seconds.items()}
