"""The device that the suite's engine computes on: pretended, or a real GPU where there is one."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

from worker.imaging.decode import Pixels


class Device(Protocol):
    def invert(self, crops: Sequence[Pixels]) -> list[Pixels]: ...

    def starve(self) -> None:
        """Raise what this device raises when its memory is full."""

    def break_down(self) -> None:
        """Leave the device's context unusable: from now on, ``invert`` fails in this process."""

    def is_out_of_memory(self, error: Exception) -> bool: ...


class Pretence:
    """Says what CUDA would say."""

    def __init__(self) -> None:
        self._broken = False

    def invert(self, crops: Sequence[Pixels]) -> list[Pixels]:
        if self._broken:
            raise RuntimeError("CUDA error: an illegal memory access was encountered")
        return [255 - crop for crop in crops]

    def starve(self) -> None:
        raise MemoryError("too little memory, as ordered")

    def break_down(self) -> None:
        self._broken = True

    def is_out_of_memory(self, error: Exception) -> bool:
        return isinstance(error, MemoryError)


class Gpu:
    """The first CUDA device, filled and broken for real."""

    def __init__(self) -> None:
        import torch

        self._torch: Any = torch
        self.invert([])

    def invert(self, crops: Sequence[Pixels]) -> list[Pixels]:
        tensors = [self._torch.from_numpy(crop).cuda() for crop in crops]
        inverted: list[Pixels] = [(255 - tensor).cpu().numpy() for tensor in tensors]
        return inverted

    def starve(self) -> None:
        free_bytes, _ = self._torch.cuda.mem_get_info()
        self._torch.empty(2 * free_bytes, dtype=self._torch.uint8, device="cuda")

    def break_down(self) -> None:
        """An index outside of a tensor trips an assertion on the device itself."""
        torch = self._torch
        nowhere = torch.tensor([1_000_000], device="cuda")
        torch.zeros(1, device="cuda")[nowhere].cpu()

    def is_out_of_memory(self, error: Exception) -> bool:
        return isinstance(error, self._torch.OutOfMemoryError)


def gpu_there() -> bool:
    """Asks the driver's files: torch takes seconds to import."""
    return any(Path("/dev").glob("nvidia[0-9]*"))
