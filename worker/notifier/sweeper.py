"""Objects and records made to agree: what was promised has a record, what nobody owns goes.

Any number may sweep at once. Nothing is concluded from a Redis that does not know this bucket (see
``shared.manifests.installation``), nor from what is young: whoever wrote it may be about to say so.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import TypeVar

from shared.errors import Internal
from shared.jobs.job import Status
from shared.jobs.recovery import Whereabouts
from shared.jobs.store import JobStore
from shared.manifests.installation import Installation
from shared.manifests.manifests import Manifests, Promise
from shared.storage.bucket import ObjectStorage, StoredObject
from shared.storage.keys import TENANTS, inputs_prefix, results_root
from shared.telemetry import JOBS_REVIVED, SWEPT
from worker.notifier.rebuilder import Rebuilder

_log = logging.getLogger(__name__)
_BATCH = 200  # records that one script looks up
#: How long a request may be between its manifest and its record, and between its photo and that.
_PROMISED_S, _UPLOADED_S = 120.0, 900.0

T = TypeVar("T")


class Sweeper:
    """Raises Unavailable; what was not swept then is swept the next time."""

    def __init__(
        self,
        store: JobStore,
        storage: ObjectStorage,
        *,
        input_ttl_s: float,
        stopping: Callable[[], bool] = lambda: False,
    ) -> None:
        """``stopping`` is asked now and then; if so, what is left is left to the next time."""
        self._recovery = store.recovery
        self._storage = storage
        self._input_ttl_s = input_ttl_s
        self._stopping = stopping
        self._manifests = Manifests(storage)
        self._installation = Installation(store.recovery, storage)
        self._rebuilder = Rebuilder(store, storage)

    def sweep_manifests(self) -> int:
        """Remove those of jobs that have ended, and bring back jobs that Redis has lost."""
        changed = 0
        for batch, known in self._look_up(self._manifests.all(), lambda each: each.job_id):
            for promise in batch:
                changed += self._settle(promise, known[promise.job_id])
        return changed

    def sweep_objects(self) -> int:
        """Delete what lost runs have stored, what is no job's, and photos kept long enough."""
        swept = 0
        for tenant in list(self._storage.folders(TENANTS)):
            swept += self._sweep("result", results_root(tenant), _lost_result)
            swept += self._sweep("input", inputs_prefix(tenant), self._done_with)
        return swept

    def _settle(self, promise: Promise, known: Whereabouts) -> bool:
        if known.erased or promise.generation < known.generation:
            over = True
        elif known.status is None or promise.generation > known.generation:
            return promise.age_s >= _PROMISED_S and self._revive(promise)
        else:
            over = known.status.terminal
        if over:
            self._manifests.remove(promise.tenant, promise.job_id, promise.generation)
            SWEPT.labels("manifest").inc()
        return over

    def _revive(self, promise: Promise) -> bool:
        about = {"job_id": promise.job_id}
        try:
            became = self._rebuilder.revive(promise)
        except Internal as error:
            _log.error("%s", error.detail, extra=about)
            return False
        if became is None:
            return False
        JOBS_REVIVED.labels(became).inc()
        _log.warning("a manifest had no record: the job is %s", became, extra=about)
        return True

    def _sweep(
        self, what: str, prefix: str, doomed: Callable[[str, StoredObject, Whereabouts], bool]
    ) -> int:
        def job_id(stored: StoredObject) -> str:
            return stored.key.removeprefix(prefix).partition("/")[0]

        swept = 0
        for batch, known in self._look_up(self._storage.list(prefix), job_id):
            keys = [
                stored.key
                for stored in batch
                if doomed(stored.key.removeprefix(prefix), stored, known[job_id(stored)])
            ]
            self._storage.delete(keys)
            SWEPT.labels(what).inc(len(keys))
            swept += len(keys)
        return swept

    def _done_with(self, _: str, stored: StoredObject, known: Whereabouts) -> bool:
        """A photo is kept as long as its job may need it."""
        age_s = stored.age_s or 0.0
        if known.status is None:
            return known.erased or age_s >= _UPLOADED_S
        return known.status.terminal and age_s >= self._input_ttl_s

    def _look_up(
        self, items: Iterable[T], job_id: Callable[[T], str]
    ) -> Iterator[tuple[list[T], dict[str, Whereabouts]]]:
        """What the records know of each item's job; read after the item was seen."""
        installation, rest = self._installation.name(), iter(items)
        while not self._stopping() and (batch := list(islice(rest, _BATCH))):
            ids = list(dict.fromkeys(map(job_id, batch)))
            yield batch, self._recovery.whereabouts(installation, ids)


def _lost_result(path: str, stored: StoredObject, known: Whereabouts) -> bool:
    """All but what the job shows, and what the run that goes on has stored so far."""
    if known.status is None:
        return known.erased or (stored.age_s or 0.0) >= _UPLOADED_S
    token = path.split("/")[1] if "/" in path else ""
    return known.status not in {Status.RUNNING, Status.SUCCEEDED} or token != known.token
