"""The objects of one tenant in the bucket, and their copies in another bucket."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass

from shared.errors import InputNotFound
from shared.storage.bucket import ObjectStorage, StoredObject
from shared.storage.keys import BATCH_MANIFESTS, MANIFESTS, TENANTS

#: A larger object is copied in parts.
_WHOLE_BYTES = 64 * 2**20
_AT_ONCE = 8


@dataclass(frozen=True, slots=True)
class TenantObjects:
    """Every method raises Unavailable."""

    tenant: str
    storage: ObjectStorage

    def manifests(self) -> dict[str, StoredObject]:
        """Return the manifests of unfinished jobs and batches, by key."""
        return self._list(MANIFESTS, BATCH_MANIFESTS)

    def files(self) -> dict[str, StoredObject]:
        """Return all other objects: photos, results, files of the tenant."""
        return self._list(TENANTS)

    def _list(self, *roots: str) -> dict[str, StoredObject]:
        return {
            stored.key: stored
            for root in roots
            for stored in self.storage.list(f"{root}{self.tenant}/")
        }

    def remove(self, keys: Iterable[str]) -> None:
        self.storage.delete(keys)


def copy_objects(
    source: ObjectStorage, target: ObjectStorage, wanted: Iterable[StoredObject]
) -> Iterator[StoredObject]:
    """Copy objects with their content types; yield each one when it is copied.

    One that was deleted meanwhile, because its time was over, is left out.
    """

    def copy(stored: StoredObject) -> StoredObject:
        with suppress(InputNotFound):
            content_type = source.head(stored.key).content_type
            if stored.bytes <= _WHOLE_BYTES:
                data = source.get(stored.key, max_bytes=_WHOLE_BYTES)
                target.put(stored.key, data, content_type)
            else:
                target.put_stream(stored.key, source.stream(stored.key), content_type)
        return stored

    with ThreadPoolExecutor(_AT_ONCE) as pool:
        yield from pool.map(copy, wanted)


def changed_etags(
    ours: Mapping[str, StoredObject], theirs: Mapping[str, StoredObject]
) -> dict[str, str]:
    """Return the new ETag of each object that has another one in its copy.

    That is so if only one of the two was written in parts. Records and manifests name the ETag of
    their photo, so the copy of a record must name that of the copy.
    """
    return {
        stored.etag: theirs[key].etag
        for key, stored in ours.items()
        if key in theirs and stored.etag != theirs[key].etag
    }


def same_content(
    source: ObjectStorage, target: ObjectStorage, ours: StoredObject, theirs: StoredObject | None
) -> bool:
    """Return whether a copy is right.

    The ETag of an object that was written at once is its MD5. Without two such ETags, both objects
    are read, and their SHA-256 are compared.
    """
    if theirs is None or ours.bytes != theirs.bytes:
        return False
    if ours.etag == theirs.etag and "-" not in ours.etag:
        return True
    return _sha256(source, ours.key) == _sha256(target, ours.key)


def _sha256(storage: ObjectStorage, key: str) -> str:
    digest = hashlib.sha256()
    for piece in storage.stream(key):
        digest.update(piece)
    return digest.hexdigest()
