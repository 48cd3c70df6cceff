"""Metrics of batches: the engine process makes the batches, the worker's registry counts them."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from shared.telemetry import BATCH_FACES, BATCH_WAIT_SECONDS

Send = Callable[[Mapping[str, Any]], None]
_send: Send | None = None


def send_with(send: Send) -> None:
    """Send the batches of this process to the worker. Called once, before models are loaded."""
    global _send  # noqa: PLW0603  # one for the process, as the metrics are
    _send = send


def on_batch(model: str, waits_s: Sequence[float]) -> None:
    """A batch went through the network; its faces had waited so many seconds."""
    if _send is None:
        count(model, waits_s)
        return
    with contextlib.suppress(OSError):  # the worker is gone, so this process ends too
        _send({"model": model, "waits_s": [round(wait_s, 4) for wait_s in waits_s]})


def count(model: str, waits_s: Sequence[float]) -> None:
    """Add a batch to the metrics of this process."""
    BATCH_FACES.labels(model).observe(len(waits_s))
    for wait_s in waits_s:
        BATCH_WAIT_SECONDS.labels(model).observe(wait_s)
