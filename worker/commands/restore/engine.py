"""The engine for photos of this machine: generous limits, the model, the confined decoder."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import replace

from shared.settings import Settings
from worker.commands.restore.batch import BatchOptions, PhotoBatch
from worker.decoder import DecodeBounds, Decoder
from worker.decoder.decoder import photo_limits
from worker.imaging.limits import Limits
from worker.load_models import load_model

MAX_BYTES, MAX_PIXELS = 1_000_000_000, 200_000_000
_MAX_SIDE_PX, _MAX_ASPECT = 65_535, 1_000.0
_DECODE_S = 20  # of processor time; the help says so
_BYTES_PER_PIXEL = 26  # that decoding needs at its peak: 16 bits a channel, several copies


@contextmanager
def open_engine(settings: Settings, options: BatchOptions, limits: Limits) -> Iterator[PhotoBatch]:
    """Load the model and start the decoder. Raises ModelUnavailable."""
    # Both take a while to start. The decoder starts in this thread: it dies with its thread.
    with ThreadPoolExecutor(1) as second_thread:
        loading = second_thread.submit(load_model, settings)
        with Decoder(limits, bounds=_bounds(limits)) as decoder, closing(loading.result()) as model:
            yield PhotoBatch(model, decoder, options)


def own_limits(
    settings: Settings, *, max_pixels: int | None = None, max_bytes: int | None = None
) -> Limits:
    """The options, else the settings if they are given, else generous defaults.

    The defaults of the settings protect a service from strangers; here the photos are one's own.
    """
    own = {
        "max_input_bytes": MAX_BYTES,
        "max_pixels": MAX_PIXELS,
        "max_side_px": _MAX_SIDE_PX,
        "max_aspect": _MAX_ASPECT,
    }
    chosen = {name: value for name, value in own.items() if name not in settings.model_fields_set}
    given = {"max_pixels": max_pixels, "max_input_bytes": max_bytes}
    chosen |= {name: value for name, value in given.items() if value is not None}
    return replace(photo_limits(settings.model_copy(update=chosen)), phone_formats=True)


def _bounds(limits: Limits) -> DecodeBounds:
    """What the decoder may use for a photo of that many pixels."""
    memory_bytes = max(1 << 30, _BYTES_PER_PIXEL * limits.max_pixels)
    return DecodeBounds(memory_bytes=memory_bytes, cpu_s=_DECODE_S, wall_s=1.1 * _DECODE_S)
