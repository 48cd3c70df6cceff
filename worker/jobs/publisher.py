"""The publication of a result: picture, comparison and crops as objects, and what the record says.

Keys hold the lease token, so a worker that lost its job can only write orphans.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

from shared.errors import PublishFailed, Unavailable
from shared.jobs.job import Job
from shared.jobs.record import Outcome
from shared.manifests.manifests import Manifests
from shared.storage.bucket import ObjectStorage
from shared.storage.keys import file_key, result_key
from worker.engine_process.result import Finished, Picture

_CONTENT_TYPES = {"png": "image/png", "jpeg": "image/jpeg", "webp": "image/webp"}


@dataclass(frozen=True, slots=True)
class Publication:
    """Where the objects of one run go. Storage that fails becomes PublishFailed."""

    storage: ObjectStorage
    job: Job
    token: str

    def publish(self, finished: Finished) -> dict[str, Any]:
        """Store all pictures; the job's ``result`` as the record keeps it."""
        stored = {
            name: self._store(picture, finished.read(picture))
            for name, picture in finished.pictures.items()
        }
        return {
            "image": stored["restored"],
            "comparison": stored.get("comparison"),
            "faces": [_with_keys(face, stored) for face in finished.facts["faces"]],
            "model": finished.facts["model"],
            "background": finished.facts["background"],
        }

    def copy_to_tenant(self, image: dict[str, Any]) -> None:
        """Put the picture under the key that the request names.

        That key carries no token: ask first whether the job is still ours.
        """
        wanted = self.job.request["output"]["key"]
        data = self.storage.get(image["key"], max_bytes=image["bytes"])
        self._put(file_key(self.job.tenant, wanted), data, image["format"])

    def seal(self, outcome: Outcome) -> None:
        """Leave word that the run has succeeded, after the last picture: Redis may be lost."""
        try:
            Manifests(self.storage).seal(self.job.tenant, self.job.id, self.token, outcome)
        except Unavailable as error:
            raise PublishFailed(error.detail) from error

    def _store(self, picture: Picture, data: bytes) -> dict[str, Any]:
        name = f"{picture.name}.{picture.format}"
        key = result_key(self.job.tenant, self.job.id, self.token, name)
        self._put(key, data, picture.format)
        return {
            "key": key,
            "width": picture.width,
            "height": picture.height,
            "format": picture.format,
            "bytes": len(data),
            "sha256": hashlib.sha256(data).hexdigest(),
        }

    def _put(self, key: str, data: bytes, kind: str) -> None:
        try:
            self.storage.put(key, data, _CONTENT_TYPES[kind])
        except Unavailable as error:
            raise PublishFailed(error.detail) from error


def _with_keys(face: dict[str, Any], stored: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """The face with keys in place of the names of its crops."""
    crop = face["crop"]
    keys = crop and {f"{when}_key": stored[name]["key"] for when, name in crop.items()}
    return {**face, "crop": keys}
