"""Let torchvision import beside a torch that its compiled operators were not built for.

facexlib needs torchvision only for ``nms`` and the ResNet backbone, and torchvision's wheel on the
package index is a CUDA build that does not load beside a CPU torch (``operator torchvision::nms
does not exist``). Where the native import works, nothing here has any effect.
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

#: Operators live as long as the library object that defined them.
_libraries: list[torch.library.Library] = []


def import_torchvision() -> None:
    """Import torchvision, defining in plain torch what its compiled part would have brought.

    Meanwhile no other thread may import torch's compiler: it would get a stand-in.
    """
    with _without_compiler():
        _import_torchvision()


@contextmanager
def _without_compiler() -> Iterator[None]:
    """Keep ``torchvision.ops.roi_align`` from importing torch's compiler.

    It does so, for nearly two seconds, to ask one thing when it is called; nothing here calls it.
    """
    names = ("torch._dynamo", "torch._dynamo.utils")
    if names[0] in sys.modules:
        yield
        return
    stand_ins = {name: ModuleType(name) for name in names}
    vars(stand_ins[names[1]])["is_compile_supported"] = lambda _device: False
    sys.modules.update(stand_ins)
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
        vars(extension)["_has_ops"] = lambda: True  # there is no public way to say so
        importlib.import_module("torchvision.models")


def _define_operators() -> None:
    library: Any = torch.library.Library("torchvision", "DEF")  # type: ignore[no-untyped-call]
    for name in ("nms", "qnms"):
        library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    library.impl("nms", nms, "CPU")
    _libraries.append(library)


def nms(boxes: Tensor, scores: Tensor, iou_threshold: float) -> Tensor:
    """Indices of the boxes to keep, best first: (N, 4) x0 y0 x1 y1 and (N,) → (K,) int64.

    Greedy, as torchvision's: a box goes if it overlaps a better one by more than the threshold.
    """
    order = scores.argsort(descending=True, stable=True)
    boxes = boxes[order]
    areas = (boxes[:, 2:] - boxes[:, :2]).prod(1)
    alive = torch.ones(len(boxes), dtype=torch.bool)
    keep = []
    for index in range(len(boxes)):
        if not alive[index]:
            continue
        keep.append(index)
        corners = torch.maximum(boxes[index, :2], boxes[index + 1 :, :2])
        sides = torch.minimum(boxes[index, 2:], boxes[index + 1 :, 2:]) - corners
        shared = sides.clamp(min=0).prod(1)
        union = areas[index] + areas[index + 1 :] - shared
        alive[index + 1 :] &= shared <= iou_threshold * union
    return order[keep]
