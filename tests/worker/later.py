"""Storage seen from a later day, and what sweeps find in it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from shared.jobs.job import Status
from shared.jobs.store import Claim, JobStore, NewJob, Outcome
from shared.storage.bucket import ObjectStorage, StoredObject
from shared.storage.keys import INSTALLATION, result_key
from tests.jobs import TENANT

HOUR = 3_600.0
DONE = Outcome(Status.SUCCEEDED, result={"faces": []})
FAILED = Outcome(Status.FAILED, error={"code": "corrupt-image"})


class LaterStorage(ObjectStorage):
    """The same objects, seen ``later_s`` from now."""

    later_s = 0.0

    def list(self, prefix: str) -> Iterator[StoredObject]:
        for stored in super().list(prefix):
            yield replace(stored, age_s=(stored.age_s or 0.0) + self.later_s)


def put(storage: ObjectStorage, *keys: str) -> None:
    for key in keys:
        storage.put(key, b"x", "image/png")


def claim(store: JobStore, new: NewJob) -> Claim:
    claim = store.claim(new.id, "worker-1")
    assert claim is not None
    assert claim.job.id == new.id
    return claim


def keys(storage: ObjectStorage) -> set[str]:
    return {stored.key for stored in storage.list("")} - {INSTALLATION}


def picture(new: NewJob, token: str) -> str:
    return result_key(TENANT, new.id, token, "restored.png")
