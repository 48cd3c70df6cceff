"""The engine: a photo goes in, and a photo with restored faces comes out.

Each public name is imported when it is first used, so that importing this package loads no torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from worker.engine.load import load_restorer
    from worker.engine.options import FaceOptions
    from worker.engine.restorer import Restorer
    from worker.engine.results import (
        BackgroundUsed,
        Detection,
        FaceRecord,
        FoundFace,
        ModelInfo,
        Restoration,
    )

__all__ = [
    "BackgroundUsed",
    "Detection",
    "FaceOptions",
    "FaceRecord",
    "FoundFace",
    "ModelInfo",
    "Restoration",
    "Restorer",
    "load_restorer",
]

_NAMES = {
    "load": ("load_restorer",),
    "options": ("FaceOptions",),
    "restorer": ("Restorer",),
    "results": (
        "BackgroundUsed",
        "Detection",
        "FaceRecord",
        "FoundFace",
        "ModelInfo",
        "Restoration",
    ),
}
_MODULE_OF = {name: module for module, names in _NAMES.items() for name in names}


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_MODULE_OF[name]}"), name)
