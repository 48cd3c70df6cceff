"""The sweeper: removes objects without a job, and restores jobs that only a manifest knows.

Several sweepers may run at once. They do nothing if Redis belongs to another bucket (see
``shared.manifests.installation``), and ignore young objects, whose record may not be written yet.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import TypeVar

from shared.batches.batch import BatchState
from shared.batches.store import BatchStore
from shared.errors import Internal
from shared.jobs.job import Status, log_fields
from shared.jobs.recovery import JobLocation
from shared.jobs.store import JobStore
from shared.manifests.batches import BatchManifestRef, BatchManifests
from shared.manifests.installation import Installation
from shared.manifests.manifests import ManifestRef, Manifests
from shared.storage.bucket import ObjectStorage, StoredObject
from shared.storage.keys import TENANTS, inputs_prefix, quarantine_prefix, results_root
from shared.telemetry import JOBS_REVIVED, SWEPT
from worker.notifier.rebuilder import Rebuilder

_log = logging.getLogger(__name__)
_BATCH = 200  # records that one script looks up
#: The age in seconds after which a manifest, and an object, must have a record.
_MANIFEST_MIN_AGE_S, _OBJECT_MIN_AGE_S = 120.0, 900.0

T = TypeVar("T")


class Sweeper:
    """Every method raises Unavailable; the next sweep does the rest."""

    def __init__(
        self,
        store: JobStore,
        storage: ObjectStorage,
        *,
        input_ttl_s: float,
        upload_ttl_s: float,
        stopping: Callable[[], bool] = lambda: False,
    ) -> None:
        """A sweep ends early once ``stopping`` returns true."""
        self._recovery = store.recovery
        self._storage = storage
        self._input_ttl_s = input_ttl_s
        self._upload_ttl_s = upload_ttl_s
        self._stopping = stopping
        self._manifests = Manifests(storage)
        self._batches, self._batch_manifests = BatchStore.beside(store), BatchManifests(storage)
        self._installation = Installation(store.recovery, storage)
        self._rebuilder = Rebuilder(store, storage)

    def sweep_manifests(self) -> int:
        """Remove manifests of ended jobs, and restore jobs that Redis has lost."""
        changed = 0
        for batch, known in self._look_up(self._manifests.all(), lambda each: each.job_id):
            for manifest in batch:
                changed += self._settle(manifest, known[manifest.job_id])
        return changed + self._sweep_batch_manifests()

    def sweep_objects(self) -> int:
        """Delete objects of lost runs, objects without a job, and photos past their lifetime."""
        swept = 0
        for tenant in list(self._storage.folders(TENANTS)):
            swept += self._sweep("result", results_root(tenant), _is_obsolete_result)
            swept += self._sweep("input", inputs_prefix(tenant), self._is_obsolete_input)
            swept += self._sweep("quarantine", quarantine_prefix(tenant), _is_out_of_quarantine)
        return swept

    def _sweep_batch_manifests(self) -> int:
        changed, rest = 0, self._batch_manifests.all()
        while not self._stopping() and (refs := list(islice(rest, _BATCH))):
            self._installation.name()
            known = self._batches.known([ref.batch_id for ref in refs])
            changed += sum(self._settle_batch(ref, known[ref.batch_id]) for ref in refs)
        return changed

    def _settle_batch(self, ref: BatchManifestRef, state: BatchState) -> bool:
        if state in {BatchState.ENDED, BatchState.ERASED}:
            self._batch_manifests.remove(ref.tenant, ref.batch_id)
            SWEPT.labels("manifest").inc()
            return True
        if state is BatchState.OPEN or ref.age_s < _MANIFEST_MIN_AGE_S:
            return False
        try:
            restored = self._rebuilder.restore_batch(ref)
        except Internal as error:
            _log.error("%s", error.detail)
            return False
        JOBS_REVIVED.labels("queued").inc(restored)
        _log.warning("a batch was not complete: %s of its jobs are created now", restored)
        return True

    def _settle(self, manifest: ManifestRef, known: JobLocation) -> bool:
        if known.erased or manifest.generation < known.generation:
            over = True
        elif known.status is None or manifest.generation > known.generation:
            return manifest.age_s >= _MANIFEST_MIN_AGE_S and self._restore(manifest)
        else:
            over = known.status.terminal
        if over:
            self._manifests.remove(manifest.tenant, manifest.job_id, manifest.generation)
            SWEPT.labels("manifest").inc()
        return over

    def _restore(self, manifest: ManifestRef) -> bool:
        log_job = log_fields(manifest.job_id, manifest.tenant, "")
        try:
            result = self._rebuilder.restore(manifest)
        except Internal as error:
            _log.error("%s", error.detail, extra=log_job)
            return False
        if result is None:
            return False
        JOBS_REVIVED.labels(result).inc()
        _log.warning("a manifest had no record: the job is %s", result, extra=log_job)
        return True

    def _sweep(
        self, what: str, prefix: str, is_obsolete: Callable[[str, StoredObject, JobLocation], bool]
    ) -> int:
        def job_id(stored: StoredObject) -> str:
            return stored.key.removeprefix(prefix).partition("/")[0]

        swept = 0
        for batch, known in self._look_up(self._storage.list(prefix), job_id):
            keys = [
                stored.key
                for stored in batch
                if is_obsolete(stored.key.removeprefix(prefix), stored, known[job_id(stored)])
            ]
            self._storage.delete(keys)
            SWEPT.labels(what).inc(len(keys))
            swept += len(keys)
        return swept

    def _is_obsolete_input(self, _: str, stored: StoredObject, known: JobLocation) -> bool:
        """Return whether no job can need this photo any more."""
        age_s = stored.age_s or 0.0
        if known.status is None:
            # It may be an upload that is still to be submitted.
            return known.erased or age_s >= _OBJECT_MIN_AGE_S + self._upload_ttl_s
        return known.status.terminal and age_s >= self._input_ttl_s

    def _look_up(
        self, items: Iterable[T], job_id: Callable[[T], str]
    ) -> Iterator[tuple[list[T], dict[str, JobLocation]]]:
        """Yield batches of items with the locations of their jobs, read after the items."""
        installation, rest = self._installation.name(), iter(items)
        while not self._stopping() and (batch := list(islice(rest, _BATCH))):
            ids = list(dict.fromkeys(map(job_id, batch)))
            yield batch, self._recovery.locate(installation, ids)


def _is_out_of_quarantine(_: str, stored: StoredObject, known: JobLocation) -> bool:
    """Return whether the photo belongs neither to a failed job nor to one that may still fail."""
    if known.status is None:
        return known.erased or (stored.age_s or 0.0) >= _OBJECT_MIN_AGE_S
    return known.status in {Status.SUCCEEDED, Status.CANCELED}


def _is_obsolete_result(path: str, stored: StoredObject, known: JobLocation) -> bool:
    """Return whether the object belongs neither to the job's result nor to its running run."""
    if known.status is None:
        return known.erased or (stored.age_s or 0.0) >= _OBJECT_MIN_AGE_S
    token = path.split("/")[1] if "/" in path else ""
    return known.status not in {Status.RUNNING, Status.SUCCEEDED} or token != known.token
