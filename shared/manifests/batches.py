"""Manifests of batches: copies of accepted batches in the bucket.

The manifest is written before the record, and removed when the batch has ended. It has all items,
so that one write is enough for a thousand jobs. From it, a batch whose creation was interrupted is
completed, and a batch that Redis has lost is restored.

An item that a client erases gets a mark of its own beside the manifest, because several items may
be erased at once. The marks decide that an item is not restored. Its request is removed from the
manifest, too.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from shared.batches.batch import NewBatch
from shared.digest import digest
from shared.errors import Conflict, InputChanged, InputNotFound, Internal, Unavailable
from shared.jobs.idempotency import reservation_key
from shared.jobs.pools import DEFAULT_POOL
from shared.jobs.record import NewJob, to_json
from shared.jobs.recovery import Manifest
from shared.storage.bucket import Storage, StoredObject
from shared.storage.keys import BATCH_MANIFESTS, batch_manifest_key, erased_items_prefix

_log = logging.getLogger(__name__)
_JSON, _MAX_BYTES = "application/json", 100_000_000
_TRIES = 5  # to remove one request while others are removed
_KEY = re.compile(rf"{BATCH_MANIFESTS}([a-z0-9_-]+)/(bat_[0-9a-f]{{32}})\.json", re.ASCII)


@dataclass(frozen=True, slots=True)
class BatchManifestRef:
    """A manifest as a listing shows it. ``age_s``: by the clock of the storage."""

    tenant: str
    batch_id: str
    age_s: float

    @property
    def key(self) -> str:
        return batch_manifest_key(self.tenant, self.batch_id)


@dataclass(frozen=True, slots=True)
class BatchManifest:
    """A batch as it was accepted. ``entries`` are as in ``NewBatch``.

    ``jobs`` are its jobs, without those that clients have erased, whose ids are ``erased``.
    """

    id: str
    tenant: str
    key_id: str
    webhook_url: str | None
    reservation: str
    fingerprint: str
    entries: tuple[str, ...]
    jobs: tuple[Manifest, ...]
    erased: frozenset[str]


class BatchManifests:
    """Thread-safe."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage

    def write(self, new: NewBatch) -> None:
        """Write the manifest of a batch. Raises Unavailable."""
        key = batch_manifest_key(new.tenant, new.id)
        self._storage.put(key, _dump(new), _JSON)

    def remove(self, tenant: str, batch_id: str) -> None:
        """Remove a manifest. Never raises: the sweeper removes later what is not removed now."""
        try:
            marks = [stored.key for stored in self._marks(tenant, batch_id)]
            self._storage.delete([batch_manifest_key(tenant, batch_id), *marks])
        except Unavailable as error:
            _log.warning("manifest of %s not removed yet: %s", batch_id, error.detail)

    def erase_item(self, tenant: str, batch_id: str, job_id: str) -> None:
        """See to it that a job of an unfinished batch is never restored. Raises Unavailable."""
        key = batch_manifest_key(tenant, batch_id)
        try:
            self._storage.head(key)
        except InputNotFound:
            return  # the batch has ended
        self._storage.put(erased_items_prefix(tenant, batch_id) + job_id, b"", "text/plain")
        for _ in range(_TRIES):
            try:
                self._remove_request(key, job_id)
            except (Conflict, InputChanged):
                continue  # another item was erased at the same time
            except InputNotFound:
                pass  # the batch has ended meanwhile
            return
        _log.warning("the manifest of %s keeps the request of an erased item", batch_id)

    def _remove_request(self, key: str, job_id: str) -> None:
        """Raises Conflict, InputChanged, InputNotFound, Unavailable."""
        etag = self._storage.head(key).etag
        content = json.loads(self._storage.get(key, max_bytes=_MAX_BYTES, etag=etag))
        content["items"] = [
            {"id": job_id, "erased": True} if item.get("id") == job_id else item
            for item in content["items"]
        ]
        self._storage.put(key, to_json(content).encode(), _JSON, if_etag=etag)

    def _marks(self, tenant: str, batch_id: str) -> Iterator[StoredObject]:
        return self._storage.list(erased_items_prefix(tenant, batch_id))

    def all(self) -> Iterator[BatchManifestRef]:
        """Iterate over all manifests, in the order of keys. The iterator raises Unavailable."""
        for stored in self._storage.list(BATCH_MANIFESTS):
            if match := _KEY.fullmatch(stored.key):
                yield BatchManifestRef(match[1], match[2], stored.age_s or 0.0)

    def read(self, ref: BatchManifestRef) -> BatchManifest | None:
        """Read a manifest, or None if it was removed. Raises Unavailable; Internal if broken."""
        try:
            data = self._storage.get(ref.key, max_bytes=_MAX_BYTES)
        except InputNotFound:
            return None
        marks = self._marks(ref.tenant, ref.batch_id)
        erased = frozenset(mark.key.rpartition("/")[2] for mark in marks)
        try:
            return _load(data, ref, erased)
        except (ValueError, TypeError, LookupError) as error:
            raise Internal(f"The manifest {ref.key} cannot be read") from error


def _dump(new: NewBatch) -> bytes:
    keyed = new.idempotency_key is not None and new.idempotency_fingerprint is not None
    content = {
        "id": new.id,
        "tenant": new.tenant,
        "key_id": new.key_id,
        "webhook_url": new.webhook_url,
        "reservation": reservation_key(new.key_id, new.idempotency_key or "") if keyed else "",
        "fingerprint": digest(new.idempotency_fingerprint or "") if keyed else "",
        "items": [_item(item) if isinstance(item, NewJob) else dict(item) for item in new.items],
    }
    return to_json(content).encode()


def _item(job: NewJob) -> dict[str, Any]:
    return {
        "id": job.id,
        "model": job.model,
        "priority": job.priority,
        "pool": job.pool,
        "start_before_s": job.start_before_s,
        "spec": json.loads(job.spec),
    }


def _load(data: bytes, ref: BatchManifestRef, erased: frozenset[str]) -> BatchManifest:
    """Parse a manifest; ignore fields of a newer version."""
    content: dict[str, Any] = json.loads(data)
    if (content["tenant"], content["id"]) != (ref.tenant, ref.batch_id):
        raise ValueError("it belongs to another batch")
    items: list[dict[str, Any]] = content["items"]
    return BatchManifest(
        id=content["id"],
        tenant=content["tenant"],
        key_id=content["key_id"],
        webhook_url=content["webhook_url"],
        reservation=content["reservation"],
        fingerprint=content["fingerprint"],
        entries=tuple(item["id"] if _is_job(item) else to_json(item) for item in items),
        jobs=tuple(
            _job(item, content["tenant"])
            for item in items
            if "spec" in item and item["id"] not in erased
        ),
        erased=erased,
    )


def _is_job(item: dict[str, Any]) -> bool:
    return "spec" in item or "erased" in item


def _job(item: dict[str, Any], tenant: str) -> Manifest:
    return Manifest(
        id=item["id"],
        tenant=tenant,
        model=item["model"],
        priority=item["priority"],
        spec=to_json(item["spec"]),
        start_before_s=item["start_before_s"],
        generation=1,
        reservation="",
        fingerprint="",
        pool=item.get("pool", DEFAULT_POOL),
    )
