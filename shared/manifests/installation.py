"""Which Redis the jobs of a bucket are recorded in.

Both carry the same name. So a Redis that was lost, emptied or exchanged is noticed before anyone
concludes from its silence that objects and manifests belong to nobody.
"""

from __future__ import annotations

import secrets

from shared.errors import Conflict, InputNotFound, Unavailable
from shared.jobs.recovery import Recovery
from shared.storage.bucket import ObjectStorage
from shared.storage.keys import INSTALLATION

_MAX_BYTES = 1_000


class Installation:
    """Thread-safe; raises Unavailable when Redis or the storage does not answer."""

    def __init__(self, recovery: Recovery, storage: ObjectStorage) -> None:
        self._recovery, self._storage = recovery, storage

    def name(self) -> str:
        """The name of both; made when both are new.

        Raises Unavailable, with what to do, when Redis is not the one that knows these jobs.
        """
        # In this order: a new pair is named in Redis first.
        there, here = self._name_in_storage(), self._recovery.installation()
        if here is None and there is not None:
            raise Unavailable(
                "Redis has lost the jobs of this bucket, or is a new one: run facemend rebuild"
            )
        if there is None:
            there = self._name_storage(self._recovery.name_installation(secrets.token_hex(8)))
            here = self._recovery.installation()
        return self._same(here, there)

    def check_adoptable(self) -> None:
        """Raises Unavailable when this Redis knows the jobs of another bucket."""
        here, there = self._recovery.installation(), self._name_in_storage()
        if here is not None and there is not None:
            self._same(here, there)

    def adopt(self) -> str:
        """Let Redis take the place of the one that was lost. Raises Unavailable, as ``name``."""
        there = self._name_in_storage()
        if there is None:
            return self.name()
        return self._same(self._recovery.name_installation(there), there)

    @staticmethod
    def _same(here: str | None, there: str) -> str:
        if here != there:
            raise Unavailable(
                "Redis and the bucket belong to different installations of Facemend:"
                " check FACEMEND_REDIS_URL and FACEMEND_S3_BUCKET"
            )
        return there

    def _name_in_storage(self) -> str | None:
        try:
            return self._storage.get(INSTALLATION, max_bytes=_MAX_BYTES).decode()
        except InputNotFound:
            return None

    def _name_storage(self, name: str) -> str:
        try:
            self._storage.put(INSTALLATION, name.encode(), "text/plain", if_absent=True)
        except Conflict:  # another process was faster
            return self._name_in_storage() or name
        return name
