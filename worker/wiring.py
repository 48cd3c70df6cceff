"""The engine as the settings want it: for the worker and for each command that restores."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from shared.settings import Settings
from worker.engine import Limits

if TYPE_CHECKING:
    from worker.engine import Restorer


def limits_of(settings: Settings) -> Limits:
    """What photos are taken."""
    return Limits(
        max_bytes=settings.max_input_bytes,
        max_pixels=settings.max_pixels,
        min_side_px=settings.min_side_px,
        max_side_px=settings.max_side_px,
        max_aspect=settings.max_aspect,
    )


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
