"""Objects in memory, with the doors of ``shared.storage.bucket.ObjectStorage``."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterable, Iterator

from shared.errors import Conflict, InputNotFound
from shared.storage.bucket import StoredObject


class Shelf:
    """Behaves as the real one does (``test_shelf`` compares them), but costs no time."""

    def __init__(self, now: Callable[[], float] = time.time) -> None:
        self._now = now
        self._objects: dict[str, tuple[bytes, str, float]] = {}

    def put(
        self, key: str, data: bytes, content_type: str, *, if_absent: bool = False
    ) -> StoredObject:
        if if_absent and key in self._objects:
            raise Conflict("An object of that name is already there")
        self._objects[key] = (data, content_type, self._now())
        return self.head(key)

    def get(self, key: str, *, max_bytes: int, etag: str | None = None) -> bytes:
        self.head(key)
        return self._objects[key][0]

    def head(self, key: str) -> StoredObject:
        if key not in self._objects:
            raise InputNotFound
        data, content_type, _ = self._objects[key]
        etag = hashlib.md5(data, usedforsecurity=False).hexdigest()
        return StoredObject(key, len(data), etag, content_type)

    def delete(self, keys: Iterable[str]) -> None:
        for key in keys:
            self._objects.pop(key, None)

    def list(self, prefix: str) -> Iterator[StoredObject]:
        for key in sorted(self._objects):
            if key.startswith(prefix) and key in self._objects:
                found, age_s = self.head(key), self._now() - self._objects[key][2]
                yield StoredObject(key, found.bytes, found.etag, "", age_s)

    def folders(self, prefix: str) -> Iterator[str]:
        rests = [key.removeprefix(prefix) for key in self._objects if key.startswith(prefix)]
        yield from sorted({rest.split("/")[0] for rest in rests if "/" in rest})
