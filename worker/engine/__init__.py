"""The engine's door: photo in, photo with restored faces out. Imports nothing of ours but errors.

Each name is imported when it is first used: who only reads photos does not wait for torch, and who
only hands the limits on does not load a decoder.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from worker.engine.encoding import comparison, encode, output_format, require_room
    from worker.engine.images import Photo, decode
    from worker.engine.limits import Limits
    from worker.engine.loading import load_restorer
    from worker.engine.restoration import (
        BackgroundUsed,
        FaceOptions,
        FaceRecord,
        ModelInfo,
        Restoration,
    )
    from worker.engine.restorer import Restorer

__all__ = [
    "BackgroundUsed",
    "FaceOptions",
    "FaceRecord",
    "Limits",
    "ModelInfo",
    "Photo",
    "Restoration",
    "Restorer",
    "comparison",
    "decode",
    "encode",
    "load_restorer",
    "output_format",
    "require_room",
]

_HOMES = {
    "encoding": ("comparison", "encode", "output_format", "require_room"),
    "images": ("Photo", "decode"),
    "limits": ("Limits",),
    "loading": ("load_restorer",),
    "restoration": ("BackgroundUsed", "FaceOptions", "FaceRecord", "ModelInfo", "Restoration"),
    "restorer": ("Restorer",),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> Any:
    if name not in _HOME_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOME_OF[name]}"), name)
