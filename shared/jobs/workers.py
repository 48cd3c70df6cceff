"""The workers that announced themselves lately, and the models that they serve."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

from shared.jobs.job import WaitUnknown
from shared.jobs.pools import DEFAULT_POOL, ModelInPool
from shared.jobs.record import to_json
from shared.redis.scripts import Scripts

#: A worker that did not announce itself for so long is counted as gone.
SILENT_S = 15.0
#: A smaller sum of speeds is the rounding error of speeds that were added and taken away.
_MIN_FACES_PER_S = 1e-6


@dataclass(frozen=True, slots=True)
class ServedModel:
    """A model that a live worker has loaded. ``ms_per_face`` is measured there, or unknown.

    ``task``: ``restore`` or ``colorize``.
    """

    name: str
    sha256: str
    size_px: int
    licence: str
    precision: str
    backend: str
    ms_per_face: float | None
    task: str = "restore"
    batch: int | None = None  # the best number of faces in a batch, as measured


@dataclass(frozen=True, slots=True)
class WorkerState:
    """How busy a worker is, as it announces it.

    A *place* is one job that runs at the same time (see ``worker.jobs.places``). ``faces_per_s``
    and ``busy`` (the share of time in which the device ran batches, 0…1) are those since the
    announcement before.
    """

    device: str
    places: int
    places_in_use: int
    fetches: int
    fetches_in_use: int
    faces_per_s: float
    busy: float
    memory_bytes: int | None = None
    version: str = ""


@dataclass(frozen=True, slots=True)
class LiveWorker:
    """A worker that announced itself lately; ``state`` is None for one of an earlier version."""

    name: str
    models: tuple[ServedModel, ...]
    state: WorkerState | None
    pool: str = DEFAULT_POOL

    @property
    def served(self) -> list[ModelInPool]:
        """The models that it serves, in its pool."""
        return [ModelInPool(model.name, self.pool) for model in self.models]


_FIELDS = frozenset(field.name for field in fields(ServedModel))
_STATE_FIELDS = frozenset(field.name for field in fields(WorkerState))


@dataclass(frozen=True, slots=True)
class MeanWork:
    """Of a job of a model that succeeded: restored faces, and seconds in a place of a device."""

    faces: float
    busy_s: float


@dataclass(frozen=True, slots=True)
class Wait:
    """The estimated seconds until a queued job starts, or why they are ``unknown``."""

    seconds: float | None = None
    unknown: WaitUnknown | None = None


class Workers:
    """``JobStore.workers``."""

    def __init__(self, scripts: Scripts) -> None:
        self._scripts = scripts

    def announce(
        self,
        worker: str,
        models: Sequence[ServedModel],
        places: int = 1,
        state: WorkerState | None = None,
        pool: str = DEFAULT_POOL,
    ) -> None:
        """Say what a worker serves in its pool, how many jobs it runs at once, and what it does.

        ``worker`` is ``{host}-{process}``. Repeat it well within ``SILENT_S``. Raises Unavailable.
        """
        more: dict[str, Any] = {"places": places}
        if pool != DEFAULT_POOL:
            more["pool"] = pool
        self._scripts.run(
            "announce",
            worker=worker,
            host=worker.rpartition("-")[0],
            models=to_json([asdict(model) | more for model in models]),
            state=to_json(asdict(state)) if state else None,
            silent_s=SILENT_S,
        )

    def live(self) -> list[LiveWorker]:
        """Return the live workers with all that they said, by name. Raises Unavailable."""
        return [
            _live_worker(name, json.loads(models), state)
            for name, models, state in self._scripts.run("list_workers", silent_s=SILENT_S)
        ]

    def alive(self, host: str) -> bool:
        """Return whether a worker named ``{host}-…`` is alive. Raises Unavailable."""
        return bool(self._scripts.run("host_is_alive", host=host, silent_s=SILENT_S))

    def names(self) -> list[str]:
        """Return the names of live workers, the latest announcement first. Raises Unavailable."""
        return [str(name) for name in self._scripts.run("live_workers", silent_s=SILENT_S)]

    def forget(self, worker: str) -> None:
        """Remove an earlier announcement under this name. Raises Unavailable."""
        self._scripts.run("forget_worker", worker=worker)

    def wait(self, model: ModelInPool, jobs_ahead: int, work: MeanWork | None) -> Wait:
        """Estimate when a queued job starts, from the ``work`` of earlier jobs of the model.

        The longer of two times. The networks need the faces ahead by the faces that all live
        workers of the pool restore in a second; a worker's jobs share its device, so their number
        makes no difference. The whole jobs, with decoding, detection and coding, need the jobs
        ahead times their mean time by the places of those workers (Little's law).

        Raises Unavailable.
        """
        capacity = self._scripts.run("model_capacity", model=str(model), silent_s=SILENT_S)
        if capacity is None:
            return Wait(unknown="no-worker")
        if work is None:
            return Wait(unknown="not-measured")
        places, faces_per_s = int(capacity[0]), float(capacity[1])
        one_job_s = work.busy_s / places
        if faces_per_s > _MIN_FACES_PER_S:
            one_job_s = max(one_job_s, work.faces / faces_per_s)
        return Wait(round(jobs_ahead * one_job_s, 1))

    def served_models(self) -> list[ServedModel]:
        """Return one entry for each model name, the latest, sorted by name. Raises Unavailable.

        The cost depends on the number of models, not on that of workers.
        """
        found = self._scripts.run("served_models", silent_s=SILENT_S)
        models = {model.name: model for model in map(_served_model, map(json.loads, found))}
        return sorted(models.values(), key=lambda it: it.name)

    def serving(self, models: Sequence[ModelInPool]) -> list[ModelInPool]:
        """Return which of ``models`` a live worker serves, in their order. Raises Unavailable."""
        live = self._scripts.run(
            "live_models", silent_s=SILENT_S, models=[str(it) for it in models]
        )
        return [ModelInPool.parse(name) for name in live]


def _live_worker(name: str, models: list[dict[str, Any]], state: str | None) -> LiveWorker:
    pool = models[0].get("pool", DEFAULT_POOL) if models else DEFAULT_POOL
    return LiveWorker(name, tuple(map(_served_model, models)), _state(state), pool)


def _served_model(content: dict[str, Any]) -> ServedModel:
    """Ignore fields that a newer worker may add."""
    return ServedModel(**{name: value for name, value in content.items() if name in _FIELDS})


def _state(text: str | None) -> WorkerState | None:
    """Ignore fields that a newer worker may add."""
    if not text:
        return None
    content = json.loads(text)
    return WorkerState(**{name: value for name, value in content.items() if name in _STATE_FIELDS})
