"""The workers that announced themselves lately, and the models that they serve."""

from __future__ import annotations

import json
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

from shared.jobs.job import WaitUnknown
from shared.jobs.record import to_json
from shared.redis.scripts import Scripts

#: A worker that did not announce itself for so long is counted as gone.
SILENT_S = 15.0
#: Estimates of waiting times read the workers again after so long, not for each job.
_REREAD_S = 5.0


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


_FIELDS = frozenset(field.name for field in fields(ServedModel))


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


@dataclass(slots=True)
class _Capacity:
    """Of all live workers of a model: faces in a second (if measured), and device places."""

    faces_per_s: float = 0.0
    places: int = 0


class Workers:
    """``JobStore.workers``."""

    def __init__(self, scripts: Scripts) -> None:
        self._scripts = scripts
        self._capacities: dict[str, _Capacity] = {}
        self._read_at_s = -_REREAD_S

    def announce(self, worker: str, models: Sequence[ServedModel], places: int = 1) -> None:
        """Say what a worker serves, and how many jobs it runs at once.

        Repeat it well within ``SILENT_S``. Raises Unavailable.
        """
        content = to_json([asdict(model) | {"places": places} for model in models])
        self._scripts.run("announce", worker=worker, models=content, silent_s=SILENT_S)

    def alive(self, host: str) -> bool:
        """Return whether a worker named ``{host}-…`` is alive. Raises Unavailable."""
        return any(worker.rpartition("-")[0] == host for worker in self.names())

    def names(self) -> list[str]:
        """Return the names of live workers, the latest announcement first. Raises Unavailable."""
        return [str(name) for name in self._scripts.run("live_workers", silent_s=SILENT_S)]

    def forget(self, worker: str) -> None:
        """Remove an earlier announcement under this name. Raises Unavailable."""
        self._scripts.run("forget_worker", worker=worker)

    def wait(self, model: str, jobs_ahead: int, work: MeanWork | None) -> Wait:
        """Estimate when a queued job starts, from the ``work`` of earlier jobs of the model.

        The longer of two times. The networks need the faces ahead by the faces that all live
        workers restore in a second; a worker's jobs share its device, so their number makes no
        difference. The whole jobs, with decoding, detection and coding, need the jobs ahead times
        their mean time by the places of all live workers (Little's law). Raises Unavailable.
        """
        now_s = time.monotonic()
        if now_s - self._read_at_s >= _REREAD_S:
            self._capacities, self._read_at_s = self._read_capacities(), now_s
        capacity = self._capacities.get(model)
        if capacity is None:
            return Wait(unknown="no-worker")
        if work is None:
            return Wait(unknown="not-measured")
        one_job_s = work.busy_s / capacity.places
        if capacity.faces_per_s:
            one_job_s = max(one_job_s, work.faces / capacity.faces_per_s)
        return Wait(round(jobs_ahead * one_job_s, 1))

    def _read_capacities(self) -> dict[str, _Capacity]:
        found: dict[str, _Capacity] = defaultdict(_Capacity)
        for content in self._scripts.run("served_models", silent_s=SILENT_S):
            for model in json.loads(content):
                capacity = found[model["name"]]
                capacity.places += model.get("places", 1)
                if model["ms_per_face"]:
                    capacity.faces_per_s += 1000 / model["ms_per_face"]
        return dict(found)

    def served_models(self) -> list[ServedModel]:
        """Return one entry for each model name, the latest, sorted by name. Raises Unavailable."""
        found: dict[str, ServedModel] = {}
        for content in self._scripts.run("served_models", silent_s=SILENT_S):
            for model in map(_served_model, json.loads(content)):
                found.setdefault(model.name, model)
        return sorted(found.values(), key=lambda model: model.name)


def _served_model(content: dict[str, Any]) -> ServedModel:
    """Ignore fields that a newer worker may add."""
    return ServedModel(**{name: value for name, value in content.items() if name in _FIELDS})
