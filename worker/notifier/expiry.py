"""Expiry: erases jobs that were kept long enough, with their objects.

Objects are deleted before the record, so that a crash in between forgets none. Their keys are in
the record, so nothing is listed. What a dead run left behind is not in the record: the sweeper
deletes it once the record is gone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from shared.jobs.job import Job, Status
from shared.jobs.store import JobStore
from shared.storage.bucket import ObjectStorage
from shared.storage.keys import job_prefixes, quarantine_key

#: Jobs that one claim takes: their objects fit into one or two delete requests.
_BATCH = 250
#: Delete requests at once. The storage does the work, so more than the processors are useful.
_THREADS = 4
#: Claims of one thread in one round, so that a round ends and is logged.
_ROUNDS = 20


class Expiry:
    """Several may run at once, in any number of processes: each claims its own jobs."""

    def __init__(
        self,
        store: JobStore,
        storage: ObjectStorage,
        *,
        stopping: Callable[[], bool] = lambda: False,
    ) -> None:
        """A round ends early once ``stopping`` returns true."""
        self._store = store
        self._storage = storage
        self._stopping = stopping

    def erase_expired(self) -> int:
        """Erase expired jobs; return their number. Raises Unavailable; the next call goes on.

        The claim on jobs that could not be erased ends after a minute.
        """
        first = self._erase_batch()
        if first < _BATCH:
            return first
        with ThreadPoolExecutor(_THREADS, thread_name_prefix="expiry") as pool:
            return first + sum(pool.map(lambda _: self._erase_batches(), range(_THREADS)))

    def _erase_batches(self) -> int:
        erased = 0
        for _ in range(_ROUNDS):
            count = self._erase_batch()
            erased += count
            if count < _BATCH:
                break
        return erased

    def _erase_batch(self) -> int:
        jobs = [] if self._stopping() else self._store.claim_expired(_BATCH)
        self._storage.delete([key for job in jobs for key in object_keys(job)])
        return sum(self._store.expire(job.tenant, job.id) for job in jobs)


def object_keys(job: Job) -> set[str]:
    """Return the keys of all objects that the record names and that belong to this job alone.

    A photo that the tenant stored, and a result that another job made, are not among them.
    """
    own = job_prefixes(job.tenant, job.id)
    keys = {text for text in _texts([job.source, job.result]) if text.startswith(own)}
    return keys | {quarantine_key(job.tenant, job.id)} if job.status is Status.FAILED else keys


def _texts(value: Any) -> Iterator[str]:
    """Yield every text in a value of JSON."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for each in value.values():
            yield from _texts(each)
    elif isinstance(value, list):
        for each in value:
            yield from _texts(each)
