"""Batches as the worker sees them: the engine process runs and reports them, the worker counts.

The report crosses the control socket as JSON, so it names no type of the engine.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from shared.telemetry import (
    BATCH_FACES,
    BATCH_WAIT_SECONDS,
    DEVICE_BUSY_SECONDS,
    DEVICE_MEMORY_BYTES,
)
from worker.engine.batching.batch_report import BatchReport

Send = Callable[[Mapping[str, Any]], None]
_send: Send | None = None


@dataclass(frozen=True, slots=True)
class DeviceBatch:
    """A batch that a model has run.

    ``began_at``: Unix seconds. ``run_s``: seconds on the device. ``waits_s`` and ``job_ids`` have
    one entry for each face; the id is empty for the warm-up. ``memory``: bytes of the device in use
    and in total, after the batch.
    """

    model: str
    began_at: float
    run_s: float
    waits_s: Sequence[float]
    job_ids: Sequence[str]
    memory: Sequence[int] = ()


def send_with(send: Send) -> None:
    """Send the batches of this process to the worker. Called once, before models are loaded."""
    global _send  # noqa: PLW0603  # one for the process, as the metrics are
    _send = send


def on_batch(model: str, report: BatchReport, memory: Callable[[], Sequence[int]] = tuple) -> None:
    """A batch went through the network; ``memory`` then says what the device has in use."""
    batch = DeviceBatch(
        model=model,
        began_at=round(report.began_at, 4),
        run_s=round(report.run_s, 4),
        waits_s=[round(wait_s, 4) for wait_s in report.waits_s],
        job_ids=report.owners,
        memory=memory(),
    )
    if _send is None:
        count(batch)
        return
    with contextlib.suppress(OSError):  # the worker is gone, so this process ends too
        _send(asdict(batch))


def count(batch: DeviceBatch) -> None:
    """Add a batch to the metrics of this process."""
    BATCH_FACES.labels(batch.model).observe(len(batch.waits_s))
    for wait_s in batch.waits_s:
        BATCH_WAIT_SECONDS.labels(batch.model).observe(wait_s)
    DEVICE_BUSY_SECONDS.labels(batch.model).inc(batch.run_s)
    for kind, value in zip(("used", "total"), batch.memory, strict=False):
        DEVICE_MEMORY_BYTES.labels(kind).set(value)
