"""Resources for operators: queues and workers."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from shared.contract.restorations import ProgressView, Resource
from shared.jobs.job import Priority


class QueueState(Resource):
    """A queue: the jobs of one model and one priority in one pool, of all tenants.

    ``oldest_s``: seconds since its first job could start; null if the queue is empty.
    ``face_seconds``: seconds that one device needs for the faces of its jobs, as estimated from
    earlier jobs of the model in the pool.
    """

    object: Literal["queue"] = "queue"
    name: str
    model: str
    pool: str
    priority: Priority
    paused: bool
    queued: int
    oldest_s: float | None
    face_seconds: float


class QueueStateList(Resource):
    """All queues, and how many jobs run."""

    data: list[QueueState]
    running: int


class WorkerJob(Resource):
    """A job that a worker runs. ``restoration_id`` is null for a job of another tenant."""

    restoration_id: str | None
    queue: str
    started_at: datetime
    progress: ProgressView | None


class WorkerView(Resource):
    """A live worker: its pool, the models that it serves, and the jobs that it runs.

    ``places``: jobs that it runs at the same time. ``busy`` (0 to 1) and ``faces_per_s`` are those
    of its device in the last seconds. A worker of an earlier version does not say them.
    """

    object: Literal["worker"] = "worker"
    name: str
    pool: str
    models: list[str]
    version: str | None
    device: str | None
    places: int | None
    busy: float | None
    faces_per_s: float | None
    memory_bytes: int | None
    jobs: list[WorkerJob]


class WorkerList(Resource):
    data: list[WorkerView]
