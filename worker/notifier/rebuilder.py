"""The rebuilder: makes records again from manifests, of one job or of all."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

from shared.batches.batch import BatchState
from shared.batches.store import BatchStore
from shared.errors import Conflict, Internal, NotFound, QueueFull
from shared.jobs.job import log_fields
from shared.jobs.recovery import Manifest, RecoveryResult, SealedRun
from shared.jobs.store import JobStore
from shared.manifests.batches import BatchManifestRef, BatchManifests
from shared.manifests.manifests import ManifestRef, Manifests
from shared.storage.bucket import ObjectStorage
from shared.storage.keys import results_root

_log = logging.getLogger(__name__)
_READERS = 16
_BATCH = 1000

#: A manifest, and the sealed run if one had succeeded; None if it was removed meanwhile.
_Found = tuple[Manifest, SealedRun | None] | None


class Rebuilder:
    """May run again, several at once, and while the service runs."""

    def __init__(self, store: JobStore, storage: ObjectStorage) -> None:
        self._store = store
        self._storage = storage
        self._manifests = Manifests(storage)
        self._batches, self._batch_manifests = BatchStore.beside(store), BatchManifests(storage)

    def restore(self, ref: ManifestRef) -> RecoveryResult | None:
        """Restore one job; return None if its manifest was removed meanwhile.

        Raises Unavailable; Internal for a manifest that cannot be read.
        """
        return self._restore(ref, self._read(ref, ran=True))

    def restore_all(
        self, *, dry_run: bool = False, on_progress: Callable[[int, int], None] = lambda *_: None
    ) -> Counter[RecoveryResult | None]:
        """Restore every job; return the count of each result, None for unreadable manifests.

        The newest first: of two requests with one Idempotency-Key, the later one was accepted.
        Raises Unavailable.
        """
        order = sorted(
            self._manifests.all(), key=lambda each: (each.job_id, each.generation), reverse=True
        )
        results: Counter[RecoveryResult | None] = Counter()
        for batch_ref in list(self._batch_manifests.all()):
            # Before the jobs: a retried job finds its batch.
            results += self._restore_lost_batch(batch_ref, dry_run=dry_run)
        ran = self._with_results(order)

        def read(ref: ManifestRef) -> _Found | Internal:
            try:
                return self._read(ref, ran=ref.job_id in ran)
            except Internal as error:
                return error

        with ThreadPoolExecutor(_READERS) as pool:
            for start in range(0, len(order), _BATCH):
                batch = order[start : start + _BATCH]
                found = pool.map(read, batch)
                results.update(self._restore_batch(batch, found, dry_run=dry_run))
                on_progress(start + len(batch), len(order))
        return results

    def restore_batch(self, ref: BatchManifestRef) -> int:
        """Create the jobs of a batch that do not exist, and its record; return their number.

        Raises Unavailable; Internal for a manifest that cannot be read.
        """
        lost = self._batch_manifests.read(ref)
        if lost is None or not self._batches.restore(lost, ref.age_s):
            return 0
        restored, waiting = 0, []
        for job in lost.jobs:
            sealed = self._manifests.sealed(job.tenant, job.id)
            if sealed is None:
                waiting.append(job)
            else:
                result = self._store.recovery.restore(job, age_s=ref.age_s, sealed=sealed)
                restored += result is RecoveryResult.SUCCEEDED
        return restored + self._batches.create_jobs(lost.id, waiting, age_s=ref.age_s)

    def _restore_lost_batch(
        self, ref: BatchManifestRef, *, dry_run: bool
    ) -> Counter[RecoveryResult | None]:
        state = self._batches.known([ref.batch_id])[ref.batch_id]
        if state not in {BatchState.UNKNOWN, BatchState.INCOMPLETE}:
            return Counter({RecoveryResult.KNOWN: 1})
        try:
            if not dry_run:
                return Counter({RecoveryResult.QUEUED: self.restore_batch(ref)})
            lost = self._batch_manifests.read(ref)
        except Internal as error:
            _log.error("%s", error.detail)
            return Counter({None: 1})
        return Counter({RecoveryResult.QUEUED: len(lost.jobs) if lost else 0})

    def _restore_batch(
        self, batch: list[ManifestRef], found: Iterator[_Found | Internal], *, dry_run: bool
    ) -> Iterator[RecoveryResult | None]:
        for ref, each in zip(batch, found, strict=True):
            if isinstance(each, Internal):
                _log.error("%s", each.detail, extra=log_fields(ref.job_id, ref.tenant, ""))
                yield None
            elif (result := self._restore(ref, each, dry_run=dry_run)) is not None:
                yield result

    def _with_results(self, manifests: list[ManifestRef]) -> set[str]:
        """Return the ids of the jobs with stored objects of a run, from listings of folders."""
        job_ids = {ref.job_id for ref in manifests}
        return {
            job_id
            for tenant in {ref.tenant for ref in manifests}
            for job_id in self._storage.folders(results_root(tenant))
            if job_id in job_ids
        }

    def _read(self, ref: ManifestRef, *, ran: bool) -> _Found:
        manifest = self._manifests.read(ref)
        if manifest is None:
            return None
        sealed = self._manifests.sealed(ref.tenant, ref.job_id) if ran else None
        return manifest, sealed

    def _restore(
        self, ref: ManifestRef, found: _Found, *, dry_run: bool = False
    ) -> RecoveryResult | None:
        if found is None:
            return None
        manifest, sealed = found
        result = self._store.recovery.restore(
            manifest, age_s=ref.age_s, sealed=sealed, dry_run=dry_run
        )
        if not dry_run:
            self._follow_up(ref, result, manifest.pool)
        return result

    def _follow_up(self, ref: ManifestRef, result: RecoveryResult, pool: str) -> None:
        if result is RecoveryResult.OLDER:
            self._retry(ref, pool)
        elif result in {RecoveryResult.SUCCEEDED, RecoveryResult.ERASED, RecoveryResult.SUPERSEDED}:
            self._manifests.remove(ref.tenant, ref.job_id, ref.generation)

    def _retry(self, ref: ManifestRef, pool: str) -> None:
        """Repeat a retry that the manifest has and the record has not."""
        try:
            self._store.retry(ref.tenant, ref.job_id, ref.generation - 1, pool=pool)
        except QueueFull:
            return  # the manifest stays, and the next sweep tries again
        except NotFound:
            return  # erased just now, with its manifests
        except Conflict:
            if self._store.get(ref.tenant, ref.job_id).generation < ref.generation:
                self._manifests.remove(ref.tenant, ref.job_id, ref.generation)
