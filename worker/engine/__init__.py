"""The engine's public names: a photo in, a photo with restored faces out.

Each name is imported when it is first used, so that importing this package does not load torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from worker.engine.load import load_restorer
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
    "ModelInfo",
    "Restoration",
    "Restorer",
    "load_restorer",
]

_HOMES = {
    "load": ("load_restorer",),
    "restoration": ("BackgroundUsed", "FaceOptions", "FaceRecord", "ModelInfo", "Restoration"),
    "restorer": ("Restorer",),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> Any:
    if name not in _HOME_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOME_OF[name]}"), name)
