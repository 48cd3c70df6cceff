"""The engine's door: photo in, photo with restored faces out. Imports nothing of ours but errors.

What needs torch is imported when it is first used, so that reading a photo, or showing the help of
the command line, does not wait for it.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from worker.engine.encoding import comparison, encode, output_format, require_room
from worker.engine.images import Limits, Photo, decode
from worker.engine.restoration import (
    BackgroundUsed,
    FaceOptions,
    FaceRecord,
    ModelInfo,
    Restoration,
)

if TYPE_CHECKING:
    from worker.engine.loading import load_restorer
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

_HEAVY = {"Restorer": "worker.engine.restorer", "load_restorer": "worker.engine.loading"}


def __getattr__(name: str) -> Any:
    if name not in _HEAVY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_HEAVY[name]), name)
