"""The records of batches in Redis. Every change is one script.

A batch is created in steps: first its record, from which on it is accepted, then its jobs, some in
each step, so that no script blocks Redis for long. A batch whose creation was interrupted is
completed from its manifest (``shared.manifests.batches``).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from typing import Any, Protocol, Self

from shared.batches.batch import Batch, BatchItem, BatchState, NewBatch, to_batch
from shared.digest import digest
from shared.errors import Conflict, Forbidden, IdempotencyInProgress, NotFound, QueueFull
from shared.jobs.idempotency import FULL_S, reservation_key
from shared.jobs.pools import ModelInPool, stored_pool
from shared.jobs.queues import HasQueue
from shared.jobs.record import pairs, to_job, to_json
from shared.jobs.store import TOMBSTONE_S, JobStore
from shared.jobs.workers import MeanWork, Workers
from shared.redis.scripts import Scripts
from shared.settings import Settings

#: Jobs that one script creates, or cancels.
STEP = 10
_MAX_DOORBELLS = 1000  # in one queue
_USED = to_json(Conflict("Another request has used the upload.").problem())


class BatchJob(HasQueue, Protocol):
    """What a record of a job is made of: a ``NewJob``, or one from a manifest."""

    @property
    def id(self) -> str: ...
    @property
    def start_before_s(self) -> int | None: ...
    @property
    def spec(self) -> str: ...


class LostBatch(Protocol):
    """A batch as its manifest has it. ``entries`` are as in ``NewBatch``.

    ``erased``: the ids of its jobs that clients have erased.
    """

    @property
    def id(self) -> str: ...
    @property
    def tenant(self) -> str: ...
    @property
    def key_id(self) -> str: ...
    @property
    def webhook_url(self) -> str | None: ...
    @property
    def reservation(self) -> str: ...
    @property
    def fingerprint(self) -> str: ...
    @property
    def entries(self) -> Sequence[str]: ...
    @property
    def erased(self) -> Collection[str]: ...


class BatchStore:
    """Thread-safe. Every method raises Unavailable if Redis cannot serve."""

    def __init__(self, scripts: Scripts, settings: Settings) -> None:
        self._scripts, self._settings = scripts, settings
        self._workers = Workers(scripts)

    @classmethod
    def beside(cls, store: JobStore) -> Self:
        """Return the store of batches in the same Redis as the jobs of ``store``."""
        return cls(store.scripts, store.settings)

    # --- creating ---------------------------------------------------------------------------

    def open(self, new: NewBatch) -> None:
        """Create the record of a batch; its jobs follow by ``create_jobs``.

        Raises QueueFull; IdempotencyInProgress if the reservation has ended or belongs to another
        request; Forbidden if the token may not create so many jobs.
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
            age_s=0,
            ttl_s=self._settings.result_ttl_s,
            max_queued=self._settings.max_queued_per_tenant,
            restored=False,
            reservation=reservation,
            fingerprint=fingerprint,
            erased=None,
            tombstone_s=TOMBSTONE_S,
            items=new.entries,
        )
        match answer:
            case "full":
                raise QueueFull(retry_after_s=FULL_S)
            case "reservation":
                raise IdempotencyInProgress
            case "spent":
                raise Forbidden("This token may not create so many jobs.")

    def restore(self, lost: LostBatch, age_s: float) -> bool:
        """Create the record of a batch again, ``age_s`` seconds after it was accepted.

        Returns False if it was erased. A record that exists does not change.
        """
        answer = self._scripts.run(
            "open_batch",
            id=lost.id,
            tenant=lost.tenant,
            key_id=lost.key_id,
            token_id=None,
            webhook=lost.webhook_url,
            age_s=age_s,
            ttl_s=self._settings.result_ttl_s,
            max_queued=0,
            restored=True,
            reservation=lost.reservation or None,
            fingerprint=lost.fingerprint or None,
            erased=" ".join(lost.erased) or None,
            tombstone_s=TOMBSTONE_S,
            items=lost.entries,
        )
        return bool(answer != "gone")

    def create_jobs(
        self,
        batch_id: str,
        jobs: Sequence[BatchJob],
        message: Callable[[BatchJob], str] = lambda _: "",
        *,
        age_s: float = 0.0,
    ) -> int:
        """Create the jobs of a batch that do not exist; return their number.

        ``message`` makes the doorbell of a job (see ``Doorbell.message``). One rings for each step;
        the dispatcher rings for the others. ``age_s``: seconds since the batch was accepted. If
        another request has used the upload of an item, that item is rejected. Raises NotFound if
        there is no such batch.
        """
        created = 0
        for start in range(0, len(jobs), STEP):
            answer = self._scripts.run(
                "create_batch_jobs",
                batch=batch_id,
                deadline_s=self._settings.job_deadline_s,
                ttl_s=self._settings.result_ttl_s,
                max_doorbells=_MAX_DOORBELLS,
                age_s=age_s,
                used=_USED,
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
        return self._workers.wait(ModelInPool.parse(model), ahead + 1, work).seconds

    # --- canceling --------------------------------------------------------------------------

    def cancel(self, tenant: str, batch_id: str) -> Batch:
        """Cancel all jobs of a batch that have not ended.

        Raises NotFound; Conflict for a batch that has ended.
        """
        start, left = 0, 1
        while left > 0:
            answer = self._scripts.run(
                "cancel_batch", id=batch_id, tenant=tenant, start=start, limit=STEP
            )
            if answer is None:
                raise NotFound
            if answer == "ended":
                raise Conflict("All jobs of the batch have ended")
            start, left = start + STEP, int(answer) - STEP
        return self.get(tenant, batch_id)

    # --- results ----------------------------------------------------------------------------

    def claim_finished(self, claim_s: float) -> Batch | None:
        """Return a batch whose results are to be stored. For ``claim_s``, no other caller gets it.

        Prolong the claim by ``keep_claim``. At the end, call ``record_results``.
        """
        answer = self._scripts.run("claim_finished_batch", claim_s=claim_s)
        return to_batch(answer[0], pairs(answer[1])) if answer else None

    def keep_claim(self, batch: Batch, claim_s: float) -> bool:
        """Return whether the batch still needs results."""
        return bool(self._scripts.run("keep_finished_batch", id=batch.id, claim_s=claim_s))

    def record_results(self, batch: Batch, results: dict[str, Any]) -> bool:
        """Write down the results (see ``Batch.results``) and send the event of the batch.

        Returns False if the batch was erased, or if one of its jobs runs again.
        """
        return bool(
            self._scripts.run(
                "record_results",
                id=batch.id,
                generation=batch.generation,
                results=to_json(results),
            )
        )

    # --- expiry and erasure -----------------------------------------------------------------

    def claim_expired(self, claim_s: float) -> tuple[str, str] | None:
        """Return id and tenant of a batch that was kept long enough.

        The caller erases its objects, and then calls ``expire``.
        """
        answer = self._scripts.run("claim_expired_batch", claim_s=claim_s)
        return (answer[0], answer[1]) if answer else None

    def expire(self, batch_id: str) -> bool:
        """Remove the record of a batch that was kept long enough, but not its event."""
        return bool(self._scripts.run("expire_batch", id=batch_id))

    def erase(self, tenant: str, batch_id: str) -> list[str]:
        """Remove the record of a batch in any state; return the ids of its jobs.

        The caller should erase the jobs. What it leaves, and the objects, ``claim_erased`` returns.
        Raises NotFound.
        """
        answer = self._scripts.run(
            "erase_batch", id=batch_id, tenant=tenant, tombstone_s=TOMBSTONE_S
        )
        if answer is None:
            raise NotFound
        return _job_ids(answer)

    def claim_erased(self, claim_s: float) -> tuple[str, str, list[str]] | None:
        """Return id, tenant and jobs of a batch that was erased. At the end, call ``forget``."""
        answer = self._scripts.run("claim_erased_batch", claim_s=claim_s)
        return (answer[0], answer[1], _job_ids(answer[2])) if answer else None

    def forget(self, batch_id: str) -> None:
        """Forget an erased batch: its jobs and objects are gone."""
        self._scripts.run("forget_erased_batch", id=batch_id)

    def known(self, batch_ids: Sequence[str]) -> dict[str, BatchState]:
        """Return what Redis knows of batches, whoever their tenants are."""
        answer = self._scripts.run("locate_batches", ids=batch_ids)
        return {
            batch_id: BatchState(state) for batch_id, state in zip(batch_ids, answer, strict=True)
        }


def _job_ids(entries: Sequence[str]) -> list[str]:
    return [entry for entry in entries if not entry.startswith("{")]


def _flat(jobs: Sequence[BatchJob], message: Callable[[BatchJob], str]) -> list[str | float]:
    """Return the jobs as the script gets them. The first one rings."""
    flat: list[str | float] = []
    for number, job in enumerate(jobs):
        flat += [
            job.id,
            job.model,
            job.priority,
            job.spec,
            "" if job.start_before_s is None else job.start_before_s,
            json.loads(job.spec)["source"].get("bytes", 0),
            message(job) if number == 0 else "",
            stored_pool(job.pool) or "",
        ]
    return flat


def _item(index: int, entry: str, view: Any) -> BatchItem:
    if entry.startswith("{"):
        return BatchItem(index, None, None, json.loads(entry))
    return BatchItem(index, entry, to_job(entry, view) if view else None, None)
