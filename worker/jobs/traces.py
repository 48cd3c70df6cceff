"""The traces of the jobs that a worker runs, and the batches in which their faces are."""

from __future__ import annotations

import threading
from collections import Counter, OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager

from shared.jobs.runs import Claim
from shared.telemetry import Span, start_span, traced
from worker.engine_process.batch_metrics import DeviceBatch

#: A batch may be reported shortly after its job has ended, so the last jobs are remembered.
_REMEMBERED = 1_000


class JobTraces:
    """Thread-safe. The engine knows nothing of traces: it reports batches with ids of jobs."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._runs: OrderedDict[str, str] = OrderedDict()  # traceparent of the run, by job

    @contextmanager
    def run(self, claim: Claim) -> Iterator[Span]:
        """Make the block the run of this job, in the trace of its request."""
        job = claim.job
        about: dict[str, str | int] = {"job_id": job.id, "model": job.model, "attempt": job.attempt}
        if job.started_at is not None:
            queue = start_span("queue", about, parent=job.trace, began_at=job.created_at)
            queue.end(job.started_at)
        with traced("run", about, parent=job.trace, kind="consumer") as span:
            if span.traceparent:
                self._remember(job.id, span.traceparent)
            yield span

    def record_batch(self, batch: DeviceBatch) -> None:
        """Add a batch to the trace of each job with faces in it, linked to the other jobs."""
        faces = Counter(batch.job_ids)
        with self._lock:
            runs = {job_id: self._runs[job_id] for job_id in faces if job_id in self._runs}
        for job_id, parent in runs.items():
            span = start_span(
                "batch",
                {
                    "job_id": job_id,
                    "model": batch.model,
                    "faces": len(batch.job_ids),
                    "faces_of_job": faces[job_id],
                },
                parent=parent,
                began_at=batch.began_at,
                links=[other for other in runs.values() if other != parent],
            )
            span.end(batch.began_at + batch.run_s)

    def _remember(self, job_id: str, traceparent: str) -> None:
        with self._lock:
            self._runs[job_id] = traceparent
            self._runs.move_to_end(job_id)
            while len(self._runs) > _REMEMBERED:
                self._runs.popitem(last=False)
