"""Records made again from manifests: of one job that Redis has lost, or of all."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

from shared.errors import Conflict, Internal, NotFound, QueueFull
from shared.jobs.recovery import Manifest, Revival, SealedRun
from shared.jobs.store import JobStore
from shared.manifests.manifests import Manifests, Promise
from shared.storage.bucket import ObjectStorage
from shared.storage.keys import results_root

_log = logging.getLogger(__name__)
_READERS = 16
_BATCH = 1000

#: A manifest with the run that had succeeded, if one had; None: removed meanwhile.
_Found = tuple[Manifest, SealedRun | None] | None


class Rebuilder:
    """Safe to be run again, by many at once, and while the service works."""

    def __init__(self, store: JobStore, storage: ObjectStorage) -> None:
        self._store = store
        self._storage = storage
        self._manifests = Manifests(storage)

    def revive(self, promise: Promise) -> Revival | None:
        """One job; None: its manifest was removed meanwhile.

        Raises Unavailable; Internal for a manifest that cannot be read.
        """
        return self._revive(promise, self._read(promise, ran=True))

    def all(
        self, *, dry_run: bool = False, on_progress: Callable[[int, int], None] = lambda *_: None
    ) -> Counter[Revival | None]:
        """Every manifest there is; what came of them, None for those that cannot be read.

        The newest first: of two requests with one Idempotency-Key, the later one was accepted.
        Raises Unavailable.
        """
        order = sorted(
            self._manifests.all(), key=lambda each: (each.job_id, each.generation), reverse=True
        )
        ran = self._with_results(order)
        came: Counter[Revival | None] = Counter()

        def read(promise: Promise) -> _Found | Internal:
            try:
                return self._read(promise, ran=promise.job_id in ran)
            except Internal as error:
                return error

        with ThreadPoolExecutor(_READERS) as pool:
            for start in range(0, len(order), _BATCH):
                batch = order[start : start + _BATCH]
                found = pool.map(read, batch)
                came.update(self._revive_all(batch, found, dry_run=dry_run))
                on_progress(start + len(batch), len(order))
        return came

    def _revive_all(
        self, batch: list[Promise], found: Iterator[_Found | Internal], *, dry_run: bool
    ) -> Iterator[Revival | None]:
        for promise, each in zip(batch, found, strict=True):
            if isinstance(each, Internal):
                _log.error("%s", each.detail, extra={"job_id": promise.job_id})
                yield None
            elif (became := self._revive(promise, each, dry_run=dry_run)) is not None:
                yield became

    def _with_results(self, promises: list[Promise]) -> set[str]:
        """Jobs of which some run has stored something: few, and found a thousand at a time."""
        promised = {promise.job_id for promise in promises}
        return {
            job_id
            for tenant in {promise.tenant for promise in promises}
            for job_id in self._storage.folders(results_root(tenant))
            if job_id in promised
        }

    def _read(self, promise: Promise, *, ran: bool) -> _Found:
        manifest = self._manifests.read(promise)
        if manifest is None:
            return None
        sealed = self._manifests.sealed(promise.tenant, promise.job_id) if ran else None
        return manifest, sealed

    def _revive(self, promise: Promise, found: _Found, *, dry_run: bool = False) -> Revival | None:
        if found is None:
            return None
        manifest, sealed = found
        became = self._store.recovery.revive(
            manifest, age_s=promise.age_s, sealed=sealed, dry_run=dry_run
        )
        if not dry_run:
            self._follow_up(promise, became)
        return became

    def _follow_up(self, promise: Promise, became: Revival) -> None:
        if became is Revival.OLDER:
            self._retry(promise)
        elif became in {Revival.SUCCEEDED, Revival.ERASED, Revival.SUPERSEDED}:
            self._manifests.remove(promise.tenant, promise.job_id, promise.generation)

    def _retry(self, promise: Promise) -> None:
        """What was promised is a retry that the record does not know of."""
        try:
            self._store.retry(promise.tenant, promise.job_id, promise.generation - 1)
        except QueueFull:
            return  # the manifest stays: the next sweep tries again
        except NotFound:
            return  # erased a moment ago, manifests and all
        except Conflict:
            if self._store.get(promise.tenant, promise.job_id).generation < promise.generation:
                self._manifests.remove(promise.tenant, promise.job_id, promise.generation)
