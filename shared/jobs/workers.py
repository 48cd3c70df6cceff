"""The workers that announced themselves lately, and the models that they serve."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

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


class Workers:
    """``JobStore.workers``."""

    def __init__(self, scripts: Scripts) -> None:
        self._scripts = scripts
        self._faces_per_s: dict[str, float] = {}
        self._read_at_s = -_REREAD_S

    def announce(self, worker: str, models: Sequence[ServedModel]) -> None:
        """Say what a worker serves. Repeat it well within ``SILENT_S``. Raises Unavailable."""
        content = to_json([asdict(model) for model in models])
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

    def wait_s(self, model: str, jobs_ahead: int, mean_faces: float | None) -> float | None:
        """Estimate the seconds until a queued job starts.

        It is the number of faces ahead (``mean_faces`` for each job) by the faces that all live
        workers of the model restore in a second. A worker's jobs share its device, so their number
        makes no difference. Returns None if ``mean_faces`` is unknown, or no live worker of the
        model has measured its speed. Raises Unavailable.
        """
        now_s = time.monotonic()
        if now_s - self._read_at_s >= _REREAD_S:
            self._faces_per_s, self._read_at_s = self._read_speeds(), now_s
        speed = self._faces_per_s.get(model)
        if mean_faces is None or not speed:
            return None
        return round(jobs_ahead * mean_faces / speed, 1)

    def _read_speeds(self) -> dict[str, float]:
        """Return the faces per second of each model, summed over its live workers."""
        speeds: dict[str, float] = {}
        for content in self._scripts.run("served_models", silent_s=SILENT_S):
            for model in map(_served_model, json.loads(content)):
                if model.ms_per_face:
                    speeds[model.name] = speeds.get(model.name, 0.0) + 1000 / model.ms_per_face
        return speeds

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
