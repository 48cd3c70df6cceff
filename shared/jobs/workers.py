"""The workers heard of lately and the models that they serve."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, fields
from typing import Any

from shared.jobs.record import ServedModel, to_json
from shared.redis.client import Scripts

#: A worker that has not announced itself for so long is counted as gone.
SILENT_S = 15.0
_FIELDS = frozenset(field.name for field in fields(ServedModel))


class Fleet:
    def __init__(self, scripts: Scripts) -> None:
        self._scripts = scripts

    def announce(self, worker: str, models: Sequence[ServedModel]) -> None:
        """To be repeated well within ``SILENT_S``. Raises Unavailable."""
        content = to_json([asdict(model) for model in models])
        self._scripts.run("announce", worker, content, SILENT_S)

    def alive(self, host: str) -> bool:
        """Whether a worker called ``{host}-…`` was heard of lately. Raises Unavailable."""
        workers = self._scripts.run("workers", SILENT_S)
        return any(str(worker).rpartition("-")[0] == host for worker in workers)

    def served_models(self) -> list[ServedModel]:
        """One entry for each model name, by the latest word, sorted. Raises Unavailable."""
        found: dict[str, ServedModel] = {}
        for content in self._scripts.run("served_models", SILENT_S):
            for model in map(_served_model, json.loads(content)):
                found.setdefault(model.name, model)
        return sorted(found.values(), key=lambda model: model.name)


def _served_model(content: dict[str, Any]) -> ServedModel:
    """Fields that a newer worker may add are ignored."""
    return ServedModel(**{name: value for name, value in content.items() if name in _FIELDS})
