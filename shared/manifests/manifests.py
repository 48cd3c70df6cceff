"""The promise to do a job, kept in the object storage: what is left if Redis is lost whole.

A manifest is written before its record and removed when the job has ended. So each unfinished job
has one, and a manifest whose job nobody knows tells of a loss. A retry makes a new generation of
the job, with a manifest of its own: removing the old one never takes the new promise back.

A run that succeeded leaves its outcome beside its pictures before it tells the record, so that a
job whose end was lost with Redis need not run again.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from shared.errors import Conflict, InputError, Internal, Unavailable
from shared.jobs.compression import unpack
from shared.jobs.idempotency import digest, reservation_key
from shared.jobs.record import NewJob, Outcome, outcome_json, to_json
from shared.jobs.recovery import Manifest, SealedRun
from shared.storage.bucket import ObjectStorage
from shared.storage.keys import MANIFESTS, manifest_key, result_key, results_prefix

_log = logging.getLogger(__name__)
_JSON = "application/json"
_MAX_BYTES = 1_000_000
_OUTCOME = "outcome.json"
_KEY = re.compile(rf"{MANIFESTS}([a-z0-9_-]+)/(job_[0-9a-f]{{32}})\.(\d{{1,9}})\.json", re.ASCII)


@dataclass(frozen=True, slots=True)
class Promise:
    """A manifest as the listing shows it. ``age_s``: by the storage's clock."""

    tenant: str
    job_id: str
    generation: int
    age_s: float

    @property
    def key(self) -> str:
        return manifest_key(self.tenant, self.job_id, self.generation)


class Manifests:
    """Thread-safe."""

    def __init__(self, storage: ObjectStorage) -> None:
        self._storage = storage

    def write(self, new: NewJob, generation: int = 1) -> None:
        """Promise a job. The same promise twice is no error. Raises Unavailable.

        Conflict: the id is another job's.
        """
        key, data = manifest_key(new.tenant, new.id, generation), _dump(new, generation)
        try:
            self._storage.put(key, data, _JSON, if_absent=generation == 1)
        except Conflict:
            # A lost answer: the storage client has tried again and met its own object.
            if self._storage.get(key, max_bytes=_MAX_BYTES) != data:
                raise

    def remove(self, tenant: str, job_id: str, generation: int = 1) -> None:
        """The job has ended. Never raises: what is not removed now is swept within minutes."""
        try:
            self._storage.delete([manifest_key(tenant, job_id, generation)])
        except Unavailable as error:
            _log.warning("manifest not removed yet: %s", error.detail, extra={"job_id": job_id})

    def remove_all(self, tenant: str, job_id: str) -> None:
        """Whatever was promised of a job that is erased. Raises Unavailable."""
        prefix = manifest_key(tenant, job_id, 1).removesuffix("1.json")
        self._storage.delete([stored.key for stored in self._storage.list(prefix)])

    def all(self) -> Iterator[Promise]:
        """Every promise, in the order of keys. Raises Unavailable while it is walked through."""
        for stored in self._storage.list(MANIFESTS):
            match = _KEY.fullmatch(stored.key)
            if match:
                yield Promise(match[1], match[2], int(match[3]), stored.age_s or 0.0)

    def read(self, promise: Promise) -> Manifest | None:
        """None: it was removed meanwhile. Raises Unavailable; Internal if nobody can read it."""
        data = self._read(promise.key)
        try:
            return None if data is None else _load(data, promise)
        except (ValueError, TypeError, LookupError) as error:
            raise Internal(f"The manifest {promise.key} cannot be read") from error

    def seal(self, tenant: str, job_id: str, token: str, outcome: Outcome) -> None:
        """Leave the outcome beside the pictures, after the last of them. Raises Unavailable."""
        key = result_key(tenant, job_id, token, _OUTCOME)
        self._storage.put(key, outcome_json(outcome).encode(), _JSON)

    def sealed(self, tenant: str, job_id: str) -> SealedRun | None:
        """A run of this job that succeeded, and whose picture is there. Raises Unavailable.

        Of a worker that seals too late, when its run counts no more, the picture is swept already.
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
    """The key that a sealed outcome names; None: it names none."""
    result = unpack(json.loads(outcome)["result"])
    return str(result["image"]["key"]) if "image" in result else None


def _dump(new: NewJob, generation: int) -> bytes:
    keyed = new.idempotency_key is not None
    content = {
        "id": new.id,
        "tenant": new.tenant,
        "model": new.model,
        "priority": new.priority,
        "start_before_s": new.start_before_s,
        "generation": generation,
        "reservation": reservation_key(new.key_id, new.idempotency_key or "") if keyed else "",
        "fingerprint": digest(new.idempotency_fingerprint) if new.idempotency_fingerprint else "",
    }
    return f'{to_json(content)[:-1]},"spec":{new.spec}}}'.encode()


def _load(data: bytes, promise: Promise) -> Manifest:
    """Fields of a newer version are ignored."""
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
    )
    if (manifest.tenant, manifest.id) != (promise.tenant, promise.job_id):
        raise ValueError("it is another job's")
    return manifest
