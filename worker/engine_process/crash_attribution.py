"""Crash attribution: which job ended the engine process, or whether the worker is at fault."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

#: The line that Python's faulthandler writes for the thread that crashed.
_CRASHED_THREAD = re.compile(r"^Current thread 0x([0-9a-f]+)", re.MULTILINE)
#: So many different jobs, each alone in the engine process, without a success in between.
WORKER_AT_FAULT = 3


@dataclass(slots=True, eq=False)
class InFlightJob:
    """A job in an engine process. ``silent_s``: seconds since its last progress.

    ``was_suspect``: an earlier crash had already made it a suspect. ``thread``: its thread in the
    engine process, once it has begun.
    """

    job_id: str
    was_suspect: bool = False
    thread: int | None = None
    silent_s: float = 0.0


def find_suspects(
    in_flight: Sequence[InFlightJob], crash_output: str, stalled_s: float | None
) -> tuple[str, ...]:
    """Return the jobs that may have caused the death: one if it is known, else all.

    ``crash_output``: what faulthandler wrote. It names the thread, and each job has its own; but
    faces of several jobs form a batch, which runs in a thread that belongs to no job.
    ``stalled_s``: the process was killed after so many seconds without progress. A job that made
    progress in the second half of that time is no suspect.
    """
    found = _CRASHED_THREAD.search(crash_output)
    if found:
        thread = int(found[1], 16)
        suspects = [job for job in in_flight if job.thread == thread]
    elif stalled_s is not None:
        suspects = [job for job in in_flight if job.silent_s > stalled_s / 2]
    else:
        suspects = []
    return tuple(job.job_id for job in suspects or in_flight)


class CrashAttribution:
    """The crashes since the last success in this worker. Not thread-safe."""

    def __init__(self) -> None:
        self._suspects: set[str] = set()
        self._evidence_against_worker: set[str] = set()
        self._crashes_without_jobs = 0
        self._charged: set[str] = set()

    def record_crash(self, in_flight: Sequence[InFlightJob], suspects: Sequence[str]) -> None:
        """The process died with these jobs in flight, ``suspects`` among them.

        A job that ran alone is surely the cause, so another such job is evidence against the
        worker. There is one exception: a job that another worker already suspected is evidence
        against itself.
        """
        if len(in_flight) == 1:
            (job,) = in_flight
            if not job.was_suspect or job.job_id in self._suspects:
                self._evidence_against_worker.add(job.job_id)
        self._suspects.update(suspects)
        self._crashes_without_jobs += not in_flight

    def record_charge(self, job_id: str) -> None:
        """A crash was counted in the record of this job."""
        self._charged.add(job_id)

    def record_success(self) -> None:
        """A job succeeded, so this worker is healthy."""
        for jobs in (self._suspects, self._evidence_against_worker, self._charged):
            jobs.clear()
        self._crashes_without_jobs = 0

    @property
    def worker_at_fault(self) -> bool:
        """Whether the evidence says that this worker, not a job, causes the crashes."""
        return max(len(self._evidence_against_worker), self._crashes_without_jobs) >= (
            WORKER_AT_FAULT
        )

    @property
    def charged_jobs(self) -> list[str]:
        """The jobs to refund if the worker is at fault."""
        return sorted(self._charged)
