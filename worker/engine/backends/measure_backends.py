"""Measures every installed backend in every useful precision, each at its best batch size."""

from __future__ import annotations

from collections.abc import Iterator

from shared.errors import ModelUnavailable
from worker.engine.backends.artifact_cache import ArtifactCache
from worker.engine.backends.backend import INSTALL
from worker.engine.backends.backend_selection import is_installed, load_backend, precisions
from worker.engine.backends.measured_times import MeasuredTime, machine_name
from worker.engine.batching.batch_size import best_batch, measure_batches
from worker.engine.devices import Device, choose_precision


def measure_backends(
    artifacts: ArtifactCache, device: Device, max_batch: int
) -> Iterator[MeasuredTime | ModelUnavailable]:
    """Yield the time of each backend and precision, or the reason why it has none."""
    for name in INSTALL:
        for precision in _useful_precisions(name, device):
            if not is_installed(name):
                yield ModelUnavailable(f"{name} is not installed: {INSTALL[name]}")
                break
            try:
                yield _measure(artifacts, device, name, precision, max_batch)
            except ModelUnavailable as error:
                yield error


def _useful_precisions(name: str, device: Device) -> tuple[str, ...]:
    """Return the backend's precisions; on a CPU only those that its arithmetic has."""
    native = ("fp32", choose_precision("auto", device))
    found = precisions(name, device)
    return tuple(each for each in found if each in native) if device.type == "cpu" else found


def _measure(
    artifacts: ArtifactCache, device: Device, name: str, precision: str, max_batch: int
) -> MeasuredTime:
    backend, _ = load_backend(artifacts, device, backend=name, precision=precision)
    crop = artifacts.self_check.crop
    seconds = measure_batches(lambda size: backend.run([crop] * size), max_batch)
    best = best_batch(seconds)
    return MeasuredTime(
        device=device.type,
        machine=machine_name(device),
        size_px=backend.in_px,
        precision=precision,
        backend=name,
        batch=best,
        ms_per_face=round(1000 * seconds[best], 1),
    )
