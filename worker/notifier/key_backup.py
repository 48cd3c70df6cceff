"""The copy of all API keys in the object storage: they outlive the loss of Redis."""

from __future__ import annotations

from shared.errors import InputNotFound
from shared.manifests.installation import Installation
from shared.storage.bucket import ObjectStorage
from shared.storage.keys import KEY_COPIES
from shared.tenants.api_keys import KeyRing

_MAX_BYTES = 100_000_000


class KeyCopies:
    """Of one process; any number of them may write."""

    def __init__(self, keys: KeyRing, storage: ObjectStorage, installation: Installation) -> None:
        self._keys, self._storage, self._installation = keys, storage, installation
        self._last: str | None = None

    def save(self) -> bool:
        """Write the copy if something has changed; True if so.

        What the copy has and Redis has not is brought back first: keys are never deleted, so Redis
        has lost it. Raises Unavailable, also when Redis is not the one that the copy is of.
        """
        if self._last is None:
            self._last = self._read()
        if self._last == self._keys.copy():
            return False  # told by Redis alone: this is asked often
        self._installation.name()
        if self._last:
            self._keys.restore(self._last)
        copy = self._keys.copy()
        self._storage.put(KEY_COPIES, copy.encode(), "application/json")
        self._last = copy
        return True

    def restore(self) -> int:
        """Bring back what Redis has lost; the number of keys. Raises Unavailable."""
        copy = self._read()
        return self._keys.restore(copy) if copy else 0

    def _read(self) -> str:
        try:
            return self._storage.get(KEY_COPIES, max_bytes=_MAX_BYTES).decode()
        except InputNotFound:
            return ""
