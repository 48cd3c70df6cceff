"""On a GPU: faces a second by batch and precision, share of the matrix rate, memory."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from benchmarks.report import Report
from benchmarks.timing import Times
from worker.engine.backends.torch_backend import Network
from worker.engine.load import open_shelf

#: Multiply-adds of one 512 px face and of one of 256 px.
_MACS = {512: 138e9, 256: 8.7e9}
_BATCHES = (1, 4, 16, 32)
_TYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def measure(report: Report, models_dir: Path, model: str, repetitions: int) -> None:
    """Say so where there is none."""
    report.section("GPU")
    if not torch.cuda.is_available():
        report.say("GPU", "no GPU on this machine")
        return
    device = torch.device("cuda")
    report.say("GPU", torch.cuda.get_device_name(device))
    rows = []
    eager: dict[tuple[str, int], tuple[float, float]] = {}
    for precision, dtype in _TYPES.items():
        rate = _matrix_rate(device, dtype)
        for compiled in (False, True):
            network = _network(models_dir, model, device, precision, compiled=compiled)
            for batch in _BATCHES:
                found, peak_gb = _faces_per_s(network, device, batch, repetitions)
                share = found * 2 * _MACS[network.in_px] / rate
                rows.append((precision, compiled, batch, found, share, peak_gb))
                if not compiled:
                    eager[precision, batch] = found, peak_gb
            del network
            torch.cuda.empty_cache()
    columns = ("precision", "compiled", "batch", "faces/s", "share of matrix rate", "peak GB")
    report.table("gpu", columns, rows)
    for precision in _TYPES:
        gain = eager[precision, 16][0] / eager[precision, 1][0]
        report.bar(f"{precision}: batch of 16 against one at a time", gain, ">=", 4, "x")
    for precision in ("bf16", "fp16"):
        less = 1 - eager[precision, 16][1] / eager["fp32", 16][1]
        report.bar(f"{precision}: memory less than fp32, batch of 16", less, ">=", 0.4)


def _network(
    models_dir: Path, model: str, device: torch.device, precision: str, *, compiled: bool
) -> Network:
    generator = open_shelf(model, models_dir=models_dir).generator
    if compiled:
        generator.compile(mode="reduce-overhead")  # CUDA graphs
    return Network(generator, device, precision)


def _faces_per_s(
    network: Network, device: torch.device, batch: int, repetitions: int
) -> tuple[float, float]:
    crops = [np.zeros((network.in_px, network.in_px, 3), np.uint8)] * batch
    torch.cuda.reset_peak_memory_stats(device)
    for _ in range(3):  # compiles, and records its graphs
        network.run(crops)
    times = Times(tuple(_timed(lambda: network.run(crops), device) for _ in range(repetitions)))
    return batch / times.median_s, torch.cuda.max_memory_allocated(device) / 1e9


def _matrix_rate(device: torch.device, dtype: torch.dtype) -> float:
    """Operations a second of a large matrix product in this type."""
    side = 8192
    a = torch.randn(side, side, device=device, dtype=dtype)
    a @ a
    return 2 * side**3 / min(_timed(lambda: a @ a, device) for _ in range(10))


def _timed(run: Callable[[], object], device: torch.device) -> float:
    torch.cuda.synchronize(device)
    start_s = time.perf_counter()
    run()
    torch.cuda.synchronize(device)
    return time.perf_counter() - start_s
