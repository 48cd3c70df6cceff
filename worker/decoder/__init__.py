"""Decodes untrusted photos: encoded bytes in, raw pixels out, in a process that can do no harm.

``Decoder`` is for the process that has the bytes; it imports neither numpy nor Pillow. ``photo_of``
is for the process that needs the pixels. The memory file of a ``DecodedPhoto`` goes from the first
to the second.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from worker.decoder.decoded_photo import DecodedPhoto, Header
from worker.decoder.decoder import Decoder
from worker.decoder.sandbox import DecodeBounds

if TYPE_CHECKING:
    from worker.decoder.photo_arrays import photo_of

__all__ = ["DecodeBounds", "DecodedPhoto", "Decoder", "Header", "photo_of"]


def __getattr__(name: str) -> Any:
    if name == "photo_of":  # needs numpy
        from worker.decoder.photo_arrays import photo_of  # noqa: PLC0415

        return photo_of
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
