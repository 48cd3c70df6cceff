"""The queues of jobs for an operator: which ones are paused, and what runs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol

from shared.jobs.job import Priority, Progress
from shared.jobs.pools import DEFAULT_POOL, ModelInPool
from shared.jobs.record import to_progress
from shared.redis.scripts import Scripts

#: ``running`` reads at most so many jobs, so that it does not block Redis.
MAX_RUNNING = 1_000


class HasQueue(Protocol):
    """A job in any form: a record, a new one, or one of a manifest."""

    @property
    def model(self) -> str: ...
    @property
    def priority(self) -> str: ...
    @property
    def pool(self) -> str: ...


@dataclass(frozen=True, slots=True)
class QueueName:
    """A queue belongs to a model in a pool and a priority.

    Its name for people is ``model.priority``, or ``model@pool.priority`` in another pool than the
    default one.
    """

    model: str
    priority: Priority
    pool: str = DEFAULT_POOL

    def __str__(self) -> str:
        return f"{self.served}.{self.priority}"

    @classmethod
    def parse(cls, text: str) -> QueueName | None:
        """Return the queue of a name for people, None if it cannot be one."""
        name, _, priority = text.rpartition(".")
        served = ModelInPool.parse(name)
        if not served.model or priority not in set(Priority):
            return None
        return cls(served.model, Priority(priority), served.pool)

    @classmethod
    def of(cls, job: HasQueue) -> QueueName:
        """Return the queue in which a job waits."""
        return cls(job.model, Priority(job.priority), job.pool)

    @property
    def served(self) -> ModelInPool:
        return ModelInPool(self.model, self.pool)

    @property
    def order(self) -> tuple[ModelInPool, int]:
        """By model and pool, and the highest priority first."""
        return self.served, [*Priority].index(self.priority)

    @property
    def doorbells(self) -> str:
        """The name of Celery's queue with its doorbells, as in ``lua/includes/fair_queue.lua``."""
        return f"restore.{self}"

    @property
    def key(self) -> str:
        """The name in Redis."""
        return f"{self.priority}:{self.served}"

    @classmethod
    def of_key(cls, key: str) -> QueueName:
        priority, _, name = key.partition(":")
        served = ModelInPool.parse(name)
        return cls(served.model, Priority(priority), served.pool)


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
    for job_id, worker, tenant, model, priority, started_at, progress, pool in listed:
        yield RunningJob(
            id=job_id,
            worker=worker,
            tenant=tenant,
            queue=QueueName(model, Priority(priority), pool or DEFAULT_POOL),
            started_at=float(started_at),
            progress=to_progress(progress),
        )
