"""Whose fault it is when the engine child dies: a job's or this worker's."""

from __future__ import annotations

from collections.abc import Sequence

#: So many different jobs, each alone at the engine, and none that went well in between.
WORKER_AT_FAULT = 3


class Crashes:
    """The crashes since a job last went well here. Not thread-safe."""

    def __init__(self) -> None:
        self._guilty: set[str] = set()
        self._idle = 0
        self._marked: set[str] = set()

    def died(self, jobs: Sequence[str]) -> None:
        """The child died with these jobs in its hands; only one that was alone is surely why."""
        if len(jobs) == 1:
            self._guilty.add(jobs[0])
        self._idle += not jobs

    def charged(self, job_id: str) -> None:
        """The crash was put down in the job's record."""
        self._marked.add(job_id)

    def went_well(self) -> None:
        """A job came to a result: the worker is sound."""
        self._guilty.clear()
        self._marked.clear()
        self._idle = 0

    @property
    def worker_at_fault(self) -> bool:
        return len(self._guilty) >= WORKER_AT_FAULT or self._idle >= WORKER_AT_FAULT

    @property
    def marked(self) -> list[str]:
        """Whose marks are to be taken back if the worker is at fault."""
        return sorted(self._marked)
