"""What a worker does: its batches in the metrics, and the state that it announces."""

from __future__ import annotations

import threading
import time

from shared.jobs.workers import WorkerState
from shared.program_version import program_version
from worker.engine_process import batch_metrics
from worker.engine_process.batch_metrics import DeviceBatch
from worker.jobs.places import DevicePlaces, FetchPlaces


class Activity:
    """Counts the batches of one worker. Thread-safe."""

    def __init__(self, device: str) -> None:
        """``device`` is the setting, such as ``auto`` or ``cuda:1``."""
        self._device = device
        self._lock = threading.Lock()
        self._since_s = time.monotonic()
        self._faces, self._run_s = 0, 0.0
        self._memory_bytes: int | None = None

    def count(self, batch: DeviceBatch) -> None:
        """Count a batch, here and in the metrics of the process."""
        batch_metrics.count(batch)
        with self._lock:
            self._faces += sum(map(bool, batch.job_ids))  # not those of the shadow
            self._run_s += batch.run_s
            if batch.memory:
                self._memory_bytes = batch.memory[0]

    def state(self, device: DevicePlaces, fetches: FetchPlaces) -> WorkerState:
        """Return the state since the last call, and begin anew."""
        with self._lock:
            now_s = time.monotonic()
            passed_s = max(now_s - self._since_s, 1e-3)
            faces, run_s = self._faces, self._run_s
            self._since_s, self._faces, self._run_s = now_s, 0, 0.0
        return WorkerState(
            device=self._device,
            places=device.count,
            places_in_use=device.in_use,
            fetches=fetches.count,
            fetches_in_use=fetches.in_use,
            faces_per_s=round(faces / passed_s, 2),
            busy=round(min(1.0, run_s / passed_s), 3),
            memory_bytes=self._memory_bytes,
            version=program_version(),
        )
