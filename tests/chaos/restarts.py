"""How long jobs stood still that were taken from their workers."""

from __future__ import annotations

import time
from collections.abc import Iterable

from shared.jobs.job import Status
from tests.chaos.customer import Customer
from tests.chaos.report import Row
from tests.chaos.service import Part


class Restarts:
    """Told of each blow; ``look`` often enough, and the row hears of every restart."""

    def __init__(self, row: Row, customer: Customer, bound_s: float) -> None:
        self._row, self._customer, self._bound_s = row, customer, bound_s
        self._waiting: dict[str, tuple[int, float]] = {}

    def victims(self, worker: Part) -> dict[str, int]:
        """Jobs that run there now, by the record, and their attempt."""
        return {
            job_id: job.attempt
            for job_id, job in self._customer.open_jobs().items()
            if job.status is Status.RUNNING and self._customer.service.worker_of(job_id) is worker
        }

    def struck(self, victims: dict[str, int]) -> None:
        """These stand still from now on."""
        now = time.time()
        self._waiting.update({job_id: (attempt, now) for job_id, attempt in victims.items()})

    def look(self) -> bool:
        """Count those that go on; True when none is left standing."""
        for job_id, (attempt, since) in list(self._waiting.items()):
            job = self._customer.service.job(job_id, self._customer.tenant)
            if job is None or (job.status.terminal and job.attempt == attempt):
                del self._waiting[job_id]  # it had just ended
            elif job.attempt > attempt and job.started_at is not None:
                del self._waiting[job_id]
                self._row.recovered(job.started_at - since, self._bound_s, "a restart")
        return not self._waiting

    def watch(self, seconds: float) -> None:
        """Look for so long, or until nothing stands still."""
        give_up = time.monotonic() + seconds
        while not self.look() and time.monotonic() < give_up:
            time.sleep(0.05)


def feed(customer: Customer, *, jobs: int, seconds: Iterable[float]) -> None:
    """Hand in jobs until so many are on their way."""
    lengths = iter(seconds)
    for _ in range(jobs - len(customer.open_jobs())):
        customer.submit(customer.order(seconds=next(lengths)))
