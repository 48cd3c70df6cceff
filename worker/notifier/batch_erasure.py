"""Erases batches: those that were kept long enough, and the rest of those that clients erased."""

from __future__ import annotations

from collections.abc import Callable

from shared.batches.store import BatchStore
from shared.jobs.store import JobStore
from shared.manifests.batches import BatchManifests
from shared.manifests.manifests import Manifests
from shared.storage.bucket import ObjectStorage
from shared.storage.keys import batch_prefix, input_key, quarantine_key, results_prefix

_CLAIM_S = 120.0


class BatchErasure:
    """Several may run at once, in any number of processes: each claims its own batches."""

    def __init__(
        self,
        batches: BatchStore,
        store: JobStore,
        storage: ObjectStorage,
        *,
        stopping: Callable[[], bool] = lambda: False,
    ) -> None:
        self._batches, self._store, self._storage = batches, store, storage
        self._manifests, self._batch_manifests = Manifests(storage), BatchManifests(storage)
        self._stopping = stopping

    def run(self) -> int:
        """Erase all batches that are due; return their number. Raises Unavailable."""
        erased = 0
        while not self._stopping() and (expired := self._batches.claim_expired(_CLAIM_S)):
            batch_id, tenant = expired
            self._delete_results(tenant, batch_id)
            self._batch_manifests.remove(tenant, batch_id)
            erased += self._batches.expire(batch_id)
        while not self._stopping() and (found := self._batches.claim_erased(_CLAIM_S)):
            batch_id, tenant, job_ids = found
            self._erase_jobs(tenant, job_ids)
            self._delete_results(tenant, batch_id)
            self._batch_manifests.remove(tenant, batch_id)
            self._batches.forget(batch_id)
            erased += 1
        return erased

    def _erase_jobs(self, tenant: str, job_ids: list[str]) -> None:
        for job_id in job_ids:
            self._store.erase(tenant, job_id)
            self._manifests.remove_all(tenant, job_id)
            results = self._storage.list(results_prefix(tenant, job_id))
            self._storage.delete([stored.key for stored in results])
        for key in (input_key, quarantine_key):
            self._storage.delete([key(tenant, job_id) for job_id in job_ids])

    def _delete_results(self, tenant: str, batch_id: str) -> None:
        found = self._storage.list(batch_prefix(tenant, batch_id))
        self._storage.delete([stored.key for stored in found])
