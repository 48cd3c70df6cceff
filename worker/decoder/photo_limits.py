"""What photos are taken, as the settings say."""

from __future__ import annotations

from shared.settings import Settings
from worker.imaging.limits import Limits


def limits_of(settings: Settings) -> Limits:
    """For the decoder, wherever it runs."""
    return Limits(
        max_bytes=settings.max_input_bytes,
        max_pixels=settings.max_pixels,
        min_side_px=settings.min_side_px,
        max_side_px=settings.max_side_px,
        max_aspect=settings.max_aspect,
    )
