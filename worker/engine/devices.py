"""Chooses the device that runs the networks, and the precision of their arithmetic."""

from __future__ import annotations

import os
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import torch

from shared.errors import ModelUnavailable

_HALF = {"bf16": torch.bfloat16, "fp16": torch.float16}


def choose_device(wanted: str) -> torch.device:
    """Return a device: ``auto`` (CUDA if available, else the CPU), ``cpu``, ``cuda:1``, ``mps``.

    Raises ModelUnavailable if the device cannot be used.
    """
    if wanted == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(wanted)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:  # AssertionError: torch built without CUDA
        reason = str(error).splitlines()[0]
        raise ModelUnavailable(f"device {wanted} cannot be used: {reason}") from None
    return device


def choose_precision(wanted: str, device: torch.device) -> str:
    """Return ``fp32``, ``bf16`` or ``fp16``; ``auto`` is bf16 if the hardware has it, else fp32."""
    if wanted != "auto":
        return wanted
    if device.type == "cuda":
        native = torch.cuda.is_bf16_supported(including_emulation=False)
    elif device.type == "cpu":
        features = torch.cpu.get_capabilities()
        native = bool(features.get("avx512_bf16") or features.get("amx_bf16"))
    else:
        native = False
    return "bf16" if native else "fp32"


def autocast(precision: str, device: torch.device) -> AbstractContextManager[object]:
    """Return the context in which a network runs in this precision."""
    if precision == "fp32":
        return nullcontext()
    return torch.autocast(device.type, _HALF[precision])


def memory_bytes(device: torch.device) -> tuple[int, int]:
    """Return the memory of the device in bytes: what all processes use of it, and the total.

    For a CPU it is that of this process and of the machine.
    """
    if device.type == "cuda":
        free, total = torch.cuda.mem_get_info(device)
        return total - free, total
    page = os.sysconf("SC_PAGE_SIZE")
    resident = int(Path("/proc/self/statm").read_text().split()[1])
    return resident * page, os.sysconf("SC_PHYS_PAGES") * page


def is_out_of_memory(error: Exception) -> bool:
    """Return whether the device had too little memory; on the CPU only the message tells it."""
    words = "allocate memory" in str(error) or "out of memory" in str(error)
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or (
        isinstance(error, RuntimeError) and words
    )
