"""What ``facemend top`` shows: one reading of the store."""

from __future__ import annotations

from dataclasses import dataclass

from shared.jobs.job import Job, Status
from shared.jobs.queues import QueueName
from shared.jobs.store import JobStore
from shared.jobs.workers import LiveWorker

_FAILURES = 5


@dataclass(frozen=True, slots=True)
class QueueRow:
    """A queue: jobs that wait, and the seconds that the first of them has waited."""

    name: QueueName
    jobs: int
    oldest_s: float


@dataclass(frozen=True, slots=True)
class Snapshot:
    """``waiting_s`` and ``running_s``: face-seconds. ``webhooks``: not delivered yet."""

    queues: list[QueueRow]
    running: int
    kept: int
    waiting_s: float
    running_s: float
    workers: list[LiveWorker]
    failures: list[Job]
    webhooks: int
    webhook_late_s: float

    @property
    def faces_per_s(self) -> float:
        """Faces that all workers restored in a second, as they announced it last."""
        return sum(worker.state.faces_per_s for worker in self.workers if worker.state)


def read_snapshot(store: JobStore) -> Snapshot:
    """Read everything that is shown. Raises Unavailable."""
    counts, load = store.counts(), store.load()
    queues = [
        QueueRow(name, counts.get(f"queued.{name}", 0), oldest_s)
        for name, oldest_s in load.oldest_s.items()
    ]
    return Snapshot(
        queues=sorted(queues, key=lambda row: row.name.order),
        running=counts["running"],
        kept=counts["kept"],
        waiting_s=sum(load.waiting_s.values()),
        running_s=sum(load.running_s.values()),
        workers=store.workers.live(),
        failures=store.latest(Status.FAILED, _FAILURES),
        webhooks=counts["deliveries_pending"],
        webhook_late_s=load.webhook_late_s,
    )
