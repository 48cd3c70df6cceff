"""The publisher of a result: stores picture, comparison and crops, and returns their description.

The object keys contain the lease token, so a worker that lost its job writes only orphans.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any, Self

from shared.errors import PublishFailed, Unavailable
from shared.jobs.job import Job
from shared.jobs.record import Outcome
from shared.manifests.manifests import Manifests
from shared.storage.bucket import ObjectStorage
from shared.storage.keys import file_key, result_key
from worker.engine_process.result_file import Picture, ResultFile

_CONTENT_TYPES = {"png": "image/png", "jpeg": "image/jpeg", "webp": "image/webp"}


@dataclass(frozen=True, slots=True)
class InputFile:
    """The file of a photo as it arrived: its size in bytes, and its SHA-256 in hex."""

    size: int
    sha256: str

    @classmethod
    def of(cls, data: bytes) -> Self:
        return cls(len(data), hashlib.sha256(data).hexdigest())


@dataclass(frozen=True, slots=True)
class ResultPublisher:
    """Publishes the result of one run. Raises PublishFailed if the storage fails."""

    storage: ObjectStorage
    job: Job
    token: str

    def publish(self, result_file: ResultFile) -> dict[str, Any]:
        """Store all pictures; return the job's ``result`` as the record has it."""
        stored = {
            name: self._store(picture, result_file.read(picture))
            for name, picture in result_file.pictures.items()
        }
        return {
            "image": stored["restored"],
            "comparison": stored.get("comparison"),
            "faces": [_with_keys(face, stored) for face in result_file.metadata["faces"]],
            "model": result_file.metadata["model"],
            "background": result_file.metadata["background"],
        }

    def publish_detection(self, file: InputFile, result_file: ResultFile) -> dict[str, Any]:
        """Store the previews of the faces; return the job's ``result`` as the record has it."""
        found = result_file.metadata
        stored = {
            name: self._store(picture, result_file.read(picture))
            for name, picture in result_file.pictures.items()
        }
        kept = ("key", "width", "height")
        faces = [
            {**face, "preview": {name: stored[face["preview"]][name] for name in kept}}
            for face in found["faces"]
        ]
        photo = found["photo"] | {"bytes": file.size, "sha256": file.sha256}
        return {"photo": photo, "faces": faces, "detector": found["detector"]}

    def copy_to_tenant(self, image: dict[str, Any]) -> None:
        """Store the picture under the key that the request names.

        That key contains no token, so the caller first checks that the job is still ours.
        """
        wanted = self.job.request["output"]["key"]
        data = self.storage.get(image["key"], max_bytes=image["bytes"])
        self._put(file_key(self.job.tenant, wanted), data, image["format"])

    def seal(self, outcome: Outcome) -> None:
        """Store that the run succeeded, after the last picture, in case Redis is lost."""
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
    """Return the face with object keys in place of the names of its crops."""
    crop = face["crop"]
    keys = crop and {f"{when}_key": stored[name]["key"] for when, name in crop.items()}
    return {**face, "crop": keys}
