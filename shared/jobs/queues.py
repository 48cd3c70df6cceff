"""The queues of jobs for an operator: which ones are paused, and what runs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from shared.jobs.job import Priority, Progress
from shared.jobs.record import to_progress
from shared.redis.scripts import Scripts

#: ``running`` reads at most so many jobs, so that it does not block Redis.
MAX_RUNNING = 1_000


@dataclass(frozen=True, slots=True)
class QueueName:
    """A queue belongs to a model and a priority. Its name for people is ``model.priority``."""

    model: str
    priority: Priority

    def __str__(self) -> str:
        return f"{self.model}.{self.priority}"

    @classmethod
    def parse(cls, text: str) -> QueueName | None:
        """Return the queue of a name for people, None if it cannot be one."""
        model, _, priority = text.rpartition(".")
        return cls(model, Priority(priority)) if model and priority in set(Priority) else None

    @property
    def order(self) -> tuple[str, int]:
        """By model, and the highest priority first."""
        return self.model, [*Priority].index(self.priority)

    @property
    def key(self) -> str:
        """The name in Redis."""
        return f"{self.priority}:{self.model}"

    @classmethod
    def of_key(cls, key: str) -> QueueName:
        priority, _, model = key.partition(":")
        return cls(model, Priority(priority))


@dataclass(frozen=True, slots=True)
class RunningJob:
    id: str
    worker: str
    tenant: str
    queue: QueueName
    started_at: float
    progress: Progress | None


class Queues:
    """``JobStore.queues``. Every method raises Unavailable if Redis cannot serve."""

    def __init__(self, scripts: Scripts) -> None:
        self._scripts = scripts

    def paused(self) -> set[QueueName]:
        """Return the queues whose jobs do not start."""
        return {QueueName.of_key(key) for key in self._scripts.run("list_paused")}

    def running(self) -> list[RunningJob]:
        """Return jobs of all tenants that run now, at most ``MAX_RUNNING``."""
        return [*_running(self._scripts.run("list_running", limit=MAX_RUNNING))]

    def pause(self, name: QueueName) -> None:
        """Start no more jobs of a queue. Those that run go on, and new ones may join the queue.

        The pause is not in a backup: it is gone after a loss of Redis.
        """
        self._scripts.run("pause_queue", name=name.key, paused=True)

    def resume(self, name: QueueName) -> None:
        """Start jobs of a queue again."""
        self._scripts.run("pause_queue", name=name.key, paused=False)


def _running(listed: list[Any]) -> Iterator[RunningJob]:
    for job_id, worker, tenant, model, priority, started_at, progress in listed:
        yield RunningJob(
            id=job_id,
            worker=worker,
            tenant=tenant,
            queue=QueueName(model, Priority(priority)),
            started_at=float(started_at),
            progress=to_progress(progress),
        )
