"""The records of batches in Redis. Every change is one script.

A batch is created in steps: first its record, from which on it is accepted, then its jobs, some in
each step, so that no script blocks Redis for long. A batch whose creation was interrupted is
completed from its manifest (``shared.manifests.batches``).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from shared.batches.batch import Batch, BatchItem, NewBatch, to_batch
from shared.errors import Conflict, Forbidden, IdempotencyInProgress, NotFound, QueueFull
from shared.jobs.idempotency import FULL_S, digest, reservation_key
from shared.jobs.record import NewJob, pairs, to_job
from shared.jobs.workers import MeanWork, Workers
from shared.redis.scripts import Scripts
from shared.settings import Settings

#: Jobs that one script creates, or cancels.
STEP = 20
_MAX_DOORBELLS = 1000  # in one queue


class BatchStore:
    """Thread-safe. Every method raises Unavailable if Redis cannot serve."""

    def __init__(self, scripts: Scripts, settings: Settings) -> None:
        self._scripts, self._settings = scripts, settings
        self._workers = Workers(scripts)

    # --- creating ---------------------------------------------------------------------------

    def open(self, new: NewBatch, *, age_s: float = 0.0, quota: bool = True) -> bool:
        """Create the record of a batch; its jobs follow by ``create_jobs``.

        ``age_s``: seconds since it was accepted. Without ``quota``, it was accepted before. Returns
        False if it exists or was erased. Raises QueueFull; IdempotencyInProgress if the reservation
        has ended or belongs to another request; Forbidden if the token may not create so many jobs.
        """
        reservation = fingerprint = None
        if new.idempotency_key is not None and new.idempotency_fingerprint is not None:
            reservation = reservation_key(new.key_id, new.idempotency_key)
            fingerprint = digest(new.idempotency_fingerprint)
        answer = self._scripts.run(
            "open_batch",
            id=new.id,
            tenant=new.tenant,
            key_id=new.key_id,
            token_id=new.token_id,
            webhook=new.webhook_url,
            age_s=age_s,
            ttl_s=self._settings.result_ttl_s,
            max_queued=self._settings.max_queued_per_tenant if quota else 0,
            reservation=reservation,
            fingerprint=fingerprint,
            items=new.entries,
        )
        match answer:
            case "full":
                raise QueueFull(retry_after_s=FULL_S)
            case "reservation":
                raise IdempotencyInProgress
            case "spent":
                raise Forbidden("This token may not create so many jobs.")
        return bool(answer == "open")

    def create_jobs(
        self,
        batch_id: str,
        jobs: Sequence[NewJob],
        message: Callable[[NewJob], str] = lambda _: "",
    ) -> int:
        """Create the jobs of a batch that do not exist; return their number.

        ``message`` makes the doorbell of a job (see ``Doorbell.message``). One rings for each step;
        the dispatcher rings for the others. Raises NotFound if there is no such batch.
        """
        created = 0
        for start in range(0, len(jobs), STEP):
            answer = self._scripts.run(
                "create_batch_jobs",
                batch=batch_id,
                deadline_s=self._settings.job_deadline_s,
                ttl_s=self._settings.result_ttl_s,
                max_doorbells=_MAX_DOORBELLS,
                jobs=_flat(jobs[start : start + STEP], message),
            )
            if answer is None:
                raise NotFound
            created += int(answer)
        return created

    # --- reading ----------------------------------------------------------------------------

    def get(self, tenant: str, batch_id: str) -> Batch:
        """Return a batch. Raises NotFound, also for a batch of another tenant."""
        answer = self._scripts.run("read_batch", id=batch_id, tenant=tenant)
        if answer is None:
            raise NotFound
        fields, *last = answer
        batch = to_batch(batch_id, pairs(fields))
        return replace(batch, eta_s=self._eta_s(*last)) if last else batch

    def items(self, tenant: str, batch_id: str, start: int, limit: int) -> list[BatchItem]:
        """Return items in their order, from the index ``start`` on. Raises NotFound."""
        answer = self._scripts.run(
            "batch_items", id=batch_id, tenant=tenant, start=start, limit=limit
        )
        if answer is None:
            raise NotFound
        return [_item(index, entry, view) for index, (entry, view) in enumerate(answer, start)]

    def _eta_s(
        self, model: str, ahead: int, jobs: str | None, faces: str | None, busy_ms: str | None
    ) -> float | None:
        """Estimate the seconds until the last job starts, and as long as one job more."""
        if not jobs:
            return None
        work = MeanWork(int(faces or 0) / int(jobs), int(busy_ms or 0) / int(jobs) / 1000)
        return self._workers.wait(model, ahead + 1, work).seconds

    # --- canceling --------------------------------------------------------------------------

    def cancel(self, tenant: str, batch_id: str) -> Batch:
        """Cancel all jobs of a batch that have not ended. Repeating changes nothing.

        Raises NotFound; Conflict for a batch that has ended.
        """
        start, left = 0, 1
        while left > 0:
            answer = self._scripts.run(
                "cancel_batch", id=batch_id, tenant=tenant, start=start, limit=STEP
            )
            if answer is None:
                raise NotFound
            if answer == "completed":
                raise Conflict("All jobs of the batch have ended")
            start, left = start + STEP, int(answer) - STEP
        return self.get(tenant, batch_id)


def _flat(jobs: Sequence[NewJob], message: Callable[[NewJob], str]) -> list[str | float]:
    """Return the jobs as the script gets them. The first one rings."""
    flat: list[str | float] = []
    for number, job in enumerate(jobs):
        flat += [
            job.id,
            job.model,
            job.priority,
            job.spec,
            "" if job.start_before_s is None else job.start_before_s,
            job.source.get("bytes", 0),
            message(job) if number == 0 else "",
        ]
    return flat


def _item(index: int, entry: str, view: Any) -> BatchItem:
    if entry.startswith("{"):
        return BatchItem(index, None, None, json.loads(entry))
    return BatchItem(index, entry, to_job(entry, view) if view else None, None)
