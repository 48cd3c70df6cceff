"""Time every backend that runs here, in batches of every size that may pay."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from shared.errors import ModelUnavailable
from worker.engine.backends import INSTALL
from worker.engine.backends.artifact_cache import Shelf
from worker.engine.backends.measured_times import Figure, machine_name
from worker.engine.backends.selection import is_installed, load_backend, precisions
from worker.engine.batching.batch_size import best_batch, measure_batches
from worker.engine.devices import choose_precision


def measure_backends(
    shelf: Shelf, device: torch.device, max_batch: int
) -> Iterator[Figure | ModelUnavailable]:
    """One after the other: its figure, or why there is none."""
    for name in INSTALL:
        for precision in _worth_while(name, device):
            if not is_installed(name):
                yield ModelUnavailable(f"{name} is not installed: {INSTALL[name]}")
                break
            try:
                yield _measure(shelf, device, name, precision, max_batch)
            except ModelUnavailable as error:
                yield error


def _worth_while(name: str, device: torch.device) -> tuple[str, ...]:
    """On a CPU, no precision that its arithmetic would have to imitate."""
    native = ("fp32", choose_precision("auto", device))
    found = precisions(name, device)
    return tuple(each for each in found if each in native) if device.type == "cpu" else found


def _measure(
    shelf: Shelf, device: torch.device, name: str, precision: str, max_batch: int
) -> Figure:
    backend, _ = load_backend(shelf, device, backend=name, precision=precision)
    crop = shelf.proof.crop
    seconds = measure_batches(lambda size: backend.run([crop] * size), max_batch)
    best = best_batch(seconds)
    return Figure(
        device=device.type,
        machine=machine_name(device),
        size_px=backend.in_px,
        precision=precision,
        backend=name,
        batch=best,
        ms_per_face=round(1000 * seconds[best], 1),
    )
