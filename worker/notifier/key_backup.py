"""The backup of all API keys in the object storage, for the loss of Redis."""

from __future__ import annotations

from shared.errors import InputNotFound
from shared.manifests.installation import Installation
from shared.storage.bucket import ObjectStorage
from shared.storage.keys import KEY_COPIES
from shared.tenants.api_keys import KeyRing

_MAX_BYTES = 100_000_000


class KeyBackup:
    """The backup, as one process sees it; several processes may write it."""

    def __init__(self, keys: KeyRing, storage: ObjectStorage, installation: Installation) -> None:
        self._keys, self._storage, self._installation = keys, storage, installation
        self._last: str | None = None

    def save(self) -> bool:
        """Write the backup if the keys have changed; return whether they had.

        Keys that only the backup has are restored first: keys are never deleted, so Redis has lost
        them. Raises Unavailable, also if this Redis belongs to another installation.
        """
        if self._last is None:
            self._last = self._read()
        if self._last == self._keys.copy():
            return False  # needs Redis only, because this is called often
        self._installation.name()
        if self._last:
            self._keys.restore(self._last)
        copy = self._keys.copy()
        self._storage.put(KEY_COPIES, copy.encode(), "application/json")
        self._last = copy
        return True

    def restore(self) -> int:
        """Restore the keys that Redis has lost; return their number. Raises Unavailable."""
        copy = self._read()
        return self._keys.restore(copy) if copy else 0

    def _read(self) -> str:
        try:
            return self._storage.get(KEY_COPIES, max_bytes=_MAX_BYTES).decode()
        except InputNotFound:
            return ""
