"""Chooses the device that runs the networks, and the precision of their arithmetic.

The import of torch takes two seconds, and a machine without a GPU can do without it: then what
torch would say of the processor is read from the operating system.
"""

from __future__ import annotations

import os
import platform
import re
import resource
import sys
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from shared.errors import ModelUnavailable

if TYPE_CHECKING:
    import torch

#: Files that the drivers of GPUs make in /dev: NVIDIA, its Jetson boards, Windows' Linux, AMD.
_GPU_FILES = ("nvidia*", "nvhost*", "nvmap", "dxg", "kfd")


class Device(Protocol):
    """A device; ``torch.device`` is one. ``str`` gives torch's name of it."""

    @property
    def type(self) -> str:
        """``cpu``, ``cuda`` or ``mps``."""
        ...

    @property
    def index(self) -> int | None:
        """The number of the device among those of its type."""
        ...


@dataclass(frozen=True, slots=True)
class _Cpu:
    type: str = "cpu"
    index: int | None = None

    def __str__(self) -> str:
        return self.type


#: The processor, without torch.
CPU: Device = _Cpu()


def torch_device(device: Device) -> torch.device:
    """Return the same device as torch knows it."""
    import torch  # noqa: PLC0415 - takes two seconds

    return torch.device(str(device))


def choose_device(wanted: str) -> Device:
    """Return a device: ``auto`` (CUDA if available, else the CPU), ``cpu``, ``cuda:1``, ``mps``.

    Raises ModelUnavailable if the device cannot be used.
    """
    if wanted == "cpu" or (wanted == "auto" and not has_gpu_driver()):
        return CPU
    import torch  # noqa: PLC0415 - takes two seconds

    if wanted == "auto":
        return torch.device("cuda") if torch.cuda.is_available() else CPU
    try:
        device = torch.device(wanted)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:  # AssertionError: torch built without CUDA
        reason = str(error).splitlines()[0]
        raise ModelUnavailable(f"device {wanted} cannot be used: {reason}") from None
    return device


def has_gpu_driver() -> bool:
    """Return whether a driver of a GPU is there; without one, torch finds no CUDA device."""
    return any(any(Path("/dev").glob(pattern)) for pattern in _GPU_FILES)


def choose_precision(wanted: str, device: Device) -> str:
    """Return ``fp32``, ``bf16`` or ``fp16``; ``auto`` is bf16 if the hardware has it, else fp32."""
    if wanted != "auto":
        return wanted
    if device.type == "cuda":
        import torch  # noqa: PLC0415 - takes two seconds

        native = torch.cuda.is_bf16_supported(including_emulation=False)
    elif device.type == "cpu":
        native = bool({"avx512_bf16", "amx_bf16"} & cpu_features())
    else:
        native = False
    return "bf16" if native else "fp32"


def cpu_features() -> frozenset[str]:
    """Return the instruction sets of an x86 processor under Linux, by the names of Linux."""
    return frozenset(_cpuinfo().get("flags", "").split())


def cpu_name() -> str:
    """Return the name of the processor without trademarks and clock; else its architecture."""
    name = _cpuinfo().get("model name", "")
    name = re.sub(r"\((R|TM)\)|\b(CPU|Processor)\b|@.*", "", name, flags=re.IGNORECASE)
    return " ".join(name.split()) or platform.machine()


def cpu_threads() -> int:
    """Return the number of threads for arithmetic: the cores that this process may use."""
    if "torch" in sys.modules:  # it may have been told how many
        import torch  # noqa: PLC0415 - is imported already

        return torch.get_num_threads()
    if not hasattr(os, "sched_getaffinity"):
        return os.cpu_count() or 1
    return len({_siblings(number) for number in os.sched_getaffinity(0)})


def _siblings(number: int) -> str:
    """Return the logical processors on the core of this one, as Linux writes them."""
    file = Path(f"/sys/devices/system/cpu/cpu{number}/topology/thread_siblings_list")
    try:
        return file.read_text()
    except OSError:
        return str(number)


@cache
def _cpuinfo() -> dict[str, str]:
    """Return what Linux says of the first processor; nothing elsewhere."""
    try:
        first = Path("/proc/cpuinfo").read_text().partition("\n\n")[0]
    except OSError:
        return {}
    pairs = (line.partition(":") for line in first.splitlines())
    return {name.strip(): value.strip() for name, _, value in pairs}


def autocast(precision: str, device: Device) -> AbstractContextManager[object]:
    """Return the context in which a network in torch runs in this precision."""
    if precision == "fp32":
        return nullcontext()
    import torch  # noqa: PLC0415 - takes two seconds

    half = {"bf16": torch.bfloat16, "fp16": torch.float16}
    return torch.autocast(device.type, half[precision])


def memory_bytes(device: Device) -> tuple[int, int]:
    """Return the memory of the device in bytes: what all processes use of it, and the total.

    For a CPU it is that of this process and of the machine.
    """
    if device.type == "cuda":
        import torch  # noqa: PLC0415 - takes two seconds

        free, total = torch.cuda.mem_get_info(str(device))
        return total - free, total
    page = os.sysconf("SC_PAGE_SIZE")
    return _resident_bytes(page), os.sysconf("SC_PHYS_PAGES") * page


def _resident_bytes(page: int) -> int:
    if sys.platform == "linux":
        return int(Path("/proc/self/statm").read_text().split()[1]) * page
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # the most so far; bytes on macOS


def is_out_of_memory(error: Exception) -> bool:
    """Return whether the device had too little memory; on the CPU only the message tells it."""
    if isinstance(error, MemoryError):
        return True
    words = "allocate memory" in str(error) or "out of memory" in str(error)
    torch = sys.modules.get("torch")  # an error of torch can come only from a torch that is loaded
    is_torchs = torch is not None and isinstance(error, torch.OutOfMemoryError)
    return is_torchs or (isinstance(error, RuntimeError) and words)
