"""Batches are made in the engine child and counted in the worker, whose metrics they are."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from shared.telemetry import BATCH_FACES, BATCH_WAIT_SECONDS

Send = Callable[[Mapping[str, Any]], None]
_sender: Send | None = None


def send_to(sender: Send) -> None:
    """Of this process' batches, tell ``sender``: for the child, once, before models are loaded."""
    global _sender  # noqa: PLW0603  # one a process, as the metrics are
    _sender = sender


def made(model: str, waits_s: Sequence[float]) -> None:
    """A batch of faces that had waited so long went through the network."""
    if _sender is None:
        count(model, waits_s)
        return
    with contextlib.suppress(OSError):  # the worker is gone, and so shall we be
        _sender({"model": model, "waits_s": [round(wait_s, 4) for wait_s in waits_s]})


def count(model: str, waits_s: Sequence[float]) -> None:
    """Put a batch into the metrics of this process."""
    BATCH_FACES.labels(model).observe(len(waits_s))
    for wait_s in waits_s:
        BATCH_WAIT_SECONDS.labels(model).observe(wait_s)
