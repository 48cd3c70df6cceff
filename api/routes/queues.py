"""/v1/queues and /v1/workers: what waits, what runs where, and pausing a queue. For operators."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable
from datetime import UTC, datetime

from flask import Response
from flask_openapi3.blueprint import APIBlueprint
from flask_openapi3.models.tag import Tag
from pydantic import BaseModel, Field

from api.auth import caller
from api.context import Services, current_services
from api.jobs.admission import known_models
from api.openapi import problems, returns
from shared import errors
from shared.contract.operation import (
    QueueState,
    QueueStateList,
    WorkerJob,
    WorkerList,
    WorkerView,
)
from shared.contract.rendering import progress_view
from shared.contract.restorations import Resource
from shared.errors import NotFound
from shared.jobs.job import Priority
from shared.jobs.pools import DEFAULT_POOL, ModelInPool
from shared.jobs.queues import QueueName, RunningJob
from shared.jobs.workers import LiveWorker

blueprint = APIBlueprint(
    "queues",
    __name__,
    url_prefix="/v1",
    abp_tags=[Tag(name="operation", description="Queues and workers, for operators.")],
)


class QueuePath(BaseModel):
    name: str = Field(
        description="`name` of the queue: `<model>.<priority>`, or `<model>@<pool>.<priority>`."
    )


@blueprint.get(
    "/queues",
    operation_id="queues",
    summary="Queues of all tenants",
    responses=returns(QueueStateList, 200),
)
def queues() -> Response:
    """Queues of all models, pools and priorities: length, age and work, and whether they pause."""
    services = current_services()
    return _json(QueueStateList(data=_all(services), running=services.store.counts()["running"]))


@blueprint.post(
    "/queues/<name>/pause",
    operation_id="pause_queue",
    summary="Pause a queue",
    responses={**returns(QueueState, 200), **problems(errors.NotFound)},
)
def pause(path: QueuePath) -> Response:
    """Start no more jobs of a queue. Jobs that run go on, and new jobs may join the queue."""
    return _changed(path.name, current_services().store.queues.pause)


@blueprint.post(
    "/queues/<name>/resume",
    operation_id="resume_queue",
    summary="Resume a queue",
    responses={**returns(QueueState, 200), **problems(errors.NotFound)},
)
def resume(path: QueuePath) -> Response:
    """Start jobs of a queue again."""
    return _changed(path.name, current_services().store.queues.resume)


@blueprint.get(
    "/workers",
    operation_id="workers",
    summary="Live workers and what they do",
    responses=returns(WorkerList, 200),
)
def workers() -> Response:
    """Live workers, their models, and the jobs that they run."""
    services = current_services()
    by_worker: dict[str, list[RunningJob]] = defaultdict(list)
    for job in services.store.queues.running():
        by_worker[job.worker].append(job)
    tenant = caller().tenant
    data = [
        _worker(worker, by_worker[worker.name[:64]], tenant)
        for worker in services.store.workers.live()
    ]
    return _json(WorkerList(data=data))


def _all(services: Services) -> list[QueueState]:
    """Return the queues of known models, and others that hold jobs or are paused; by model."""
    store = services.store
    counts, load, paused = store.counts(), store.load(), store.queues.paused()
    served = {
        ModelInPool(model, pool)
        for model in known_models(services)
        for pool in services.pools.by_model.get(model, (DEFAULT_POOL,))
    }
    served |= {model for worker in store.workers.live() for model in worker.served}
    served |= {name.served for name in paused} | load.waiting_s.keys()
    names = [QueueName(it.model, rank, it.pool) for it in sorted(served) for rank in Priority]
    queued = {name: counts.get(f"queued.{name}", 0) for name in names}
    waiting = Counter[ModelInPool]()
    for name in names:
        waiting[name.served] += queued[name]
    return [
        QueueState(
            name=str(name),
            model=name.model,
            pool=name.pool,
            priority=name.priority,
            paused=name in paused,
            queued=jobs,
            oldest_s=load.oldest_s.get(name) if jobs else None,
            face_seconds=round(
                jobs * load.waiting_s.get(name.served, 0.0) / (waiting[name.served] or 1), 3
            ),
        )
        for name, jobs in queued.items()
    ]


def _find(name: str, services: Services) -> QueueState:
    """Return the queue of that name. Raises NotFound."""
    for queue in _all(services):
        if queue.name == name:
            return queue
    raise NotFound


def _changed(name: str, change: Callable[[QueueName], object]) -> Response:
    """Change a queue and show it. Raises NotFound."""
    services = current_services()
    found = _find(name, services)
    change(QueueName.of(found))
    return _json(_find(name, services))


def _worker(worker: LiveWorker, jobs: list[RunningJob], tenant: str) -> WorkerView:
    state = worker.state
    return WorkerView(
        name=worker.name,
        pool=worker.pool,
        models=[model.name for model in worker.models],
        version=state and state.version,
        device=state and state.device,
        places=state and state.places,
        busy=state and state.busy,
        faces_per_s=state and state.faces_per_s,
        memory_bytes=state and state.memory_bytes,
        jobs=[
            WorkerJob(
                restoration_id=job.id if job.tenant == tenant else None,
                queue=str(job.queue),
                started_at=datetime.fromtimestamp(job.started_at, UTC),
                progress=progress_view(job.progress),
            )
            for job in jobs
        ],
    )


def _json(resource: Resource) -> Response:
    response = Response(resource.model_dump_json(), content_type="application/json")
    response.headers["Cache-Control"] = "private, no-store"
    return response
