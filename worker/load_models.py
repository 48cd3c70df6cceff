"""The engine as the settings want it: for the engine child and each command that restores."""

from __future__ import annotations

import importlib
from functools import partial
from typing import TYPE_CHECKING, Any

from shared.settings import Settings
from worker.engine_process import batch_metrics as batches

if TYPE_CHECKING:
    from worker.engine import Restorer


def prepare() -> None:
    """Import what ``load_restorers`` needs: seconds that a restart of the engine then saves."""
    importlib.import_module("worker.engine.load")


def load_restorers(settings: Settings) -> dict[str, Restorer]:
    """Load and warm each served model; raises ModelUnavailable in words."""
    restorers = {}
    for name in settings.served_models or (settings.default_model,):
        restorer = load_model(settings, name, on_batch=partial(batches.made, name))
        restorer.warm_up()
        restorers[name] = restorer
    return restorers


def load_model(settings: Settings, model: str | None = None, **overrides: Any) -> Restorer:
    """Load a model (default: ``settings.default_model``); ``overrides`` are of ``load_restorer``.

    Raises ModelUnavailable, in words.
    """
    from worker.engine import load_restorer  # noqa: PLC0415  # with torch, seconds of import

    wanted: dict[str, Any] = {
        "models_dir": settings.models_dir,
        "device": settings.device,
        "precision": settings.precision,
        "backend": settings.backend,
        "allow_fallback": settings.allow_fallback,
        "accepted_licences": settings.accepted_licences,
        "max_batch": settings.max_batch,
        "max_batch_wait_ms": settings.max_batch_wait_ms,
        "max_output_pixels": settings.max_output_pixels,
    }
    return load_restorer(model or settings.default_model, **(wanted | overrides))
