"""Whose fault it is when the engine child dies: a job's or this worker's."""

from __future__ import annotations

from collections.abc import Sequence

from worker.engine_process.crash_report import Hand

#: So many different jobs, each alone at the engine, and none that went well in between.
WORKER_AT_FAULT = 3


class Crashes:
    """The crashes since a job last went well here. Not thread-safe."""

    def __init__(self) -> None:
        self._suspected: set[str] = set()
        self._speak_against_us: set[str] = set()
        self._idle = 0
        self._charged: set[str] = set()

    def died(self, hands: Sequence[Hand], suspects: Sequence[str]) -> None:
        """The child died with these jobs in its hands, perhaps because of these.

        Only one that was alone is surely why. And if it came as a suspect from another worker, that
        speaks against the job, not against us.
        """
        if len(hands) == 1:
            (hand,) = hands
            if not hand.marked or hand.job_id in self._suspected:
                self._speak_against_us.add(hand.job_id)
        self._suspected.update(suspects)
        self._idle += not hands

    def charged(self, job_id: str) -> None:
        """The crash was put down in the job's record."""
        self._charged.add(job_id)

    def went_well(self) -> None:
        """A job came to a result: the worker is sound."""
        for jobs in (self._suspected, self._speak_against_us, self._charged):
            jobs.clear()
        self._idle = 0

    @property
    def worker_at_fault(self) -> bool:
        return max(len(self._speak_against_us), self._idle) >= WORKER_AT_FAULT

    @property
    def marked(self) -> list[str]:
        """Whose marks are to be taken back if the worker is at fault."""
        return sorted(self._charged)
