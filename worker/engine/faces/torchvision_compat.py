"""Makes torchvision importable beside a torch that its compiled operators do not fit.

facexlib needs torchvision only for ``nms`` and the ResNet backbone, and torchvision's wheel on the
package index is a CUDA build that does not load beside a CPU torch (``operator torchvision::nms
does not exist``). If the native import works, this module changes nothing.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from worker.engine.faces.detector import suppress

#: Operators live as long as the library object that defined them.
_libraries: list[torch.library.Library] = []


def import_torchvision() -> None:
    """Import torchvision; if its compiled operators do not load, define them in plain torch.

    Meanwhile no other thread may import torch's compiler: it would get a substitute.
    """
    with _without_compiler():
        _import_torchvision()


@contextmanager
def _without_compiler() -> Iterator[None]:
    """Keep ``torchvision.ops.roi_align`` from importing torch's compiler.

    That import takes nearly two seconds. Only a call of the function needs it, and nobody calls it.
    """
    names = ("torch._dynamo", "torch._dynamo.utils")
    if names[0] in sys.modules:
        yield
        return
    substitutes = {name: ModuleType(name) for name in names}
    vars(substitutes[names[1]])["is_compile_supported"] = lambda _device: False
    sys.modules.update(substitutes)
    try:
        yield
    finally:
        for name in names:
            del sys.modules[name]


def _import_torchvision() -> None:
    try:
        importlib.import_module("torchvision.models")
    except RuntimeError as error:
        if "torchvision::nms" not in str(error):
            raise
        for name in [name for name in list(sys.modules) if name.split(".")[0] == "torchvision"]:
            del sys.modules[name]  # half imported
        _define_operators()
        extension = importlib.import_module("torchvision.extension")
        vars(extension)["_has_ops"] = lambda: True  # there is no public interface for it
        importlib.import_module("torchvision.models")


def _define_operators() -> None:
    library: Any = torch.library.Library("torchvision", "DEF")  # type: ignore[no-untyped-call]
    for name in ("nms", "qnms"):
        library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    library.impl("nms", nms, "CPU")
    _libraries.append(library)


def nms(boxes: Tensor, scores: Tensor, iou_threshold: float) -> Tensor:
    """Non-maximum suppression: boxes (N, 4) x0 y0 x1 y1 and scores (N,) give (K,) int64 indices."""
    return torch.from_numpy(suppress(boxes.numpy(), scores.numpy(), iou_threshold))
