"""The decoder's door: a stranger's bytes in, raw pixels out, read in a process that can do no harm.

``Decoder`` belongs to who has the bytes, ``photo_of`` to who needs the picture; the memory file in
a ``Decoded`` goes from one to the other. ``Decoder`` imports neither numpy nor Pillow.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from worker.decoder.decoder import Decoder
from worker.decoder.result_file import Decoded, Header
from worker.decoder.sandbox import Bounds

if TYPE_CHECKING:
    from worker.decoder.pixels import photo_of

__all__ = ["Bounds", "Decoded", "Decoder", "Header", "photo_of"]


def __getattr__(name: str) -> Any:
    if name == "photo_of":  # with numpy
        from worker.decoder.pixels import photo_of  # noqa: PLC0415

        return photo_of
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
