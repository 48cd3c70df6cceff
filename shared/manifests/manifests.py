"""Manifests: copies of unfinished jobs in the bucket, from which lost records are restored.

A manifest is written before the record and removed when the job has ended. So each unfinished job
has a manifest, and a manifest without a record shows a loss. Each generation of a job has its own
manifest, so removing the old one never removes that of a retry.

A run that succeeded stores its outcome beside its pictures before it writes the record (the sealed
outcome). So a job whose end was lost with Redis does not have to run again.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from shared.digest import digest
from shared.errors import Conflict, InputError, Internal, Unavailable
from shared.jobs.compression import unpack
from shared.jobs.idempotency import reservation_key
from shared.jobs.job import Kind, log_fields
from shared.jobs.pools import DEFAULT_POOL
from shared.jobs.record import NewJob, Outcome, outcome_json, to_json
from shared.jobs.recovery import Manifest, SealedRun
from shared.storage.bucket import Storage
from shared.storage.keys import MANIFESTS, manifest_key, result_key, results_prefix

_log = logging.getLogger(__name__)
_JSON = "application/json"
_MAX_BYTES = 1_000_000
_OUTCOME = "outcome.json"
_KEY = re.compile(
    rf"{MANIFESTS}([a-z0-9_-]+)/((?:job|det)_[0-9a-f]{{32}})\.(\d{{1,9}})\.json", re.ASCII
)


@dataclass(frozen=True, slots=True)
class ManifestRef:
    """A manifest as a listing shows it. ``age_s``: by the clock of the storage."""

    tenant: str
    job_id: str
    generation: int
    age_s: float

    @property
    def key(self) -> str:
        return manifest_key(self.tenant, self.job_id, self.generation)


class Manifests:
    """Thread-safe."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage

    def write(self, new: NewJob, generation: int = 1) -> None:
        """Write the manifest of a job. Writing the same one twice is no error.

        Raises Unavailable, and Conflict if another job has the id.
        """
        key, data = manifest_key(new.tenant, new.id, generation), _dump(new, generation)
        try:
            self._storage.put(key, data, _JSON, if_absent=generation == 1)
        except Conflict:
            # The storage client may have tried again after a lost response.
            if self._storage.get(key, max_bytes=_MAX_BYTES) != data:
                raise

    def remove(self, tenant: str, job_id: str, generation: int = 1) -> None:
        """Remove a manifest. Never raises: the sweeper removes later what is not removed now."""
        try:
            self._storage.delete([manifest_key(tenant, job_id, generation)])
        except Unavailable as error:
            fields = log_fields(job_id, tenant, "")
            _log.warning("manifest not removed yet: %s", error.detail, extra=fields)

    def remove_all(self, tenant: str, job_id: str) -> None:
        """Remove the manifests of all generations of a job. Raises Unavailable."""
        prefix = manifest_key(tenant, job_id, 1).removesuffix("1.json")
        self._storage.delete([stored.key for stored in self._storage.list(prefix)])

    def all(self) -> Iterator[ManifestRef]:
        """Iterate over all manifests, in the order of keys. The iterator raises Unavailable."""
        for stored in self._storage.list(MANIFESTS):
            match = _KEY.fullmatch(stored.key)
            if match:
                yield ManifestRef(match[1], match[2], int(match[3]), stored.age_s or 0.0)

    def read(self, ref: ManifestRef) -> Manifest | None:
        """Read a manifest, or None if it was removed. Raises Unavailable; Internal if broken."""
        data = self._read(ref.key)
        try:
            return None if data is None else _load(data, ref)
        except (ValueError, TypeError, LookupError) as error:
            raise Internal(f"The manifest {ref.key} cannot be read") from error

    def seal(self, tenant: str, job_id: str, token: str, outcome: Outcome) -> None:
        """Store the outcome beside the pictures, after the last of them. Raises Unavailable."""
        key = result_key(tenant, job_id, token, _OUTCOME)
        self._storage.put(key, outcome_json(outcome).encode(), _JSON)

    def sealed(self, tenant: str, job_id: str) -> SealedRun | None:
        """Return a run of this job that succeeded and whose picture exists, or None.

        If a worker seals too late, the sweeper has already deleted the picture of that run. Raises
        Unavailable.
        """
        prefix = results_prefix(tenant, job_id)
        stored = [found.key for found in self._storage.list(prefix)]
        for key in stored:
            token, _, name = key.removeprefix(prefix).partition("/")
            data = self._read(key) if name == _OUTCOME else None
            if data is not None and _picture(data) in {*stored, None}:
                return SealedRun(token, data.decode())
        return None

    def _read(self, key: str) -> bytes | None:
        try:
            return self._storage.get(key, max_bytes=_MAX_BYTES)
        except InputError:
            return None


def _picture(outcome: bytes) -> str | None:
    """Return the key of the picture that a sealed outcome names, or None."""
    result = unpack(json.loads(outcome)["result"])
    return str(result["image"]["key"]) if "image" in result else None


def _dump(new: NewJob, generation: int) -> bytes:
    keyed = new.idempotency_key is not None
    content = {
        "id": new.id,
        "tenant": new.tenant,
        "model": new.model,
        "priority": new.priority,
        "kind": new.kind,
        "pool": new.pool,
        "start_before_s": new.start_before_s,
        "generation": generation,
        "reservation": reservation_key(new.key_id, new.idempotency_key or "") if keyed else "",
        "fingerprint": digest(new.idempotency_fingerprint) if new.idempotency_fingerprint else "",
    }
    return f'{to_json(content)[:-1]},"spec":{new.spec}}}'.encode()


def _load(data: bytes, ref: ManifestRef) -> Manifest:
    """Parse a manifest; ignore fields of a newer version."""
    content: dict[str, Any] = json.loads(data)
    manifest = Manifest(
        id=content["id"],
        tenant=content["tenant"],
        model=content["model"],
        priority=content["priority"],
        spec=to_json(content["spec"]),
        start_before_s=content["start_before_s"],
        generation=content["generation"],
        reservation=content["reservation"],
        fingerprint=content["fingerprint"],
        kind=Kind(content.get("kind", Kind.RESTORATION)),
        pool=content.get("pool", DEFAULT_POOL),
    )
    if (manifest.tenant, manifest.id) != (ref.tenant, ref.job_id):
        raise ValueError("it belongs to another job")
    return manifest
