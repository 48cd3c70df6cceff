"""Loads the models that the settings name, for the engine process and for commands."""

from __future__ import annotations

import importlib
from functools import partial
from typing import TYPE_CHECKING, Any

from shared.settings import Settings
from worker.engine.backends.no_telemetry import disable_telemetry
from worker.engine_process import batch_metrics

if TYPE_CHECKING:
    from worker.engine import Restorer


def prepare() -> None:
    """Prepare a new engine process: no telemetry, and all imports that `load_restorers` needs.

    So a spare engine process starts faster.
    """
    disable_telemetry()
    load = importlib.import_module("worker.engine.load")
    load.import_runtime()


def load_restorers(settings: Settings) -> dict[str, Restorer]:
    """Load and warm each served model. Raises ModelUnavailable."""
    from worker.engine.devices import choose_device, memory_bytes  # noqa: PLC0415

    memory = partial(memory_bytes, choose_device(settings.device))
    restorers = {}
    for name in settings.served_models or (settings.default_model,):
        on_batch = partial(batch_metrics.on_batch, name, memory=memory)
        restorer = load_model(settings, name, on_batch=on_batch)
        restorer.warm_up()
        restorers[name] = restorer
    return restorers


def load_shadow(settings: Settings) -> Restorer:
    """Load and warm the model of the shadow. Raises ModelUnavailable.

    It runs one face at a time, so that no job waits long for the device.
    """
    from worker.engine.devices import choose_device, memory_bytes  # noqa: PLC0415

    name = settings.shadow_model or settings.default_model
    memory = partial(memory_bytes, choose_device(settings.device))
    on_batch = partial(batch_metrics.on_batch, name, memory=memory)
    restorer = load_model(settings, name, max_batch=1, on_batch=on_batch)
    restorer.warm_up()
    return restorer


def load_model(settings: Settings, model: str | None = None, **overrides: Any) -> Restorer:
    """Load a model (default: ``settings.default_model``); ``overrides``: as in ``load_restorer``.

    Raises ModelUnavailable.
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
