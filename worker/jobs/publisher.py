"""The publisher of a result: stores picture, comparison and crops, and returns their description.

The object keys contain the lease token, so a worker that lost its job writes only orphans.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any, Self

from shared.errors import (
    InputError,
    InputForbidden,
    PublishFailed,
    PublishRefused,
    Unavailable,
)
from shared.jobs.job import Job
from shared.jobs.record import Outcome
from shared.manifests.manifests import Manifests
from shared.net.fetcher import Fetcher
from shared.program_version import program_version
from shared.provenance.signing_keys import SigningKey
from shared.provenance.statement import Making, write_manifest
from shared.storage.bucket import ObjectStorage
from shared.storage.keys import file_key, input_key, result_key, results_prefix
from worker.engine_process.result_file import Picture, ResultFile

#: Pauses between the attempts at a client's address. After the last one, the job is tried again.
_PUT_PAUSES_S = (1.0, 3.0)
_CHECK_S = 0.25
_COPIES_AT_ONCE = 8
_CONTENT_TYPES = {
    "png": "image/png",
    "jpeg": "image/jpeg",
    "webp": "image/webp",
    "json": "application/json",
}
_MANIFEST = "manifest.json"


@dataclass(frozen=True, slots=True)
class InputFile:
    """The file of a photo as it arrived: its size in bytes, and its SHA-256 in hex."""

    size: int
    sha256: str

    @classmethod
    def of(cls, data: bytes) -> Self:
        return cls(len(data), hashlib.sha256(data).hexdigest())


@dataclass(frozen=True, slots=True)
class Published:
    """``result`` as the record has it. ``cached``: it is a copy of that of an equal job."""

    result: dict[str, Any]
    warnings: tuple[str, ...]
    cached: bool = False


@dataclass(frozen=True, slots=True)
class ResultPublisher:
    """Publishes the result of one run. Raises PublishFailed if the storage fails."""

    storage: ObjectStorage
    job: Job
    token: str
    signing_key: SigningKey | None = None

    def publish(self, file: InputFile, result_file: ResultFile) -> dict[str, Any]:
        """Store all pictures and the signed manifest; return ``result`` as the record has it.

        ``file`` is that of the photo. Without a key there is no manifest.
        """
        stored = {
            name: self._store(picture, result_file.read(picture))
            for name, picture in result_file.pictures.items()
        }
        result = {
            "image": stored["restored"],
            "comparison": stored.get("comparison"),
            "faces": [_with_keys(face, stored) for face in result_file.metadata["faces"]],
            "model": result_file.metadata["model"],
            "background": result_file.metadata["background"],
        }
        if self.signing_key is not None:
            result["manifest"] = self._store_manifest(file, result, self.signing_key)
        return result

    def publish_copy(self, file: InputFile, equal: Job) -> Published:
        """Copy the result of an equal job of this tenant, with a manifest of this job.

        The keys in it belong to this run. Raises InputNotFound if an object is gone.
        """
        their = results_prefix(equal.tenant, equal.id)
        copies: dict[str, str] = {}

        def own_key(key: str) -> str:
            copies[key] = result_key(self.job.tenant, self.job.id, self.token, PurePath(key).name)
            return copies[key]

        old = {name: value for name, value in (equal.result or {}).items() if name != "manifest"}
        result = _map_keys(old, their, own_key)
        with ThreadPoolExecutor(_COPIES_AT_ONCE) as pool:
            list(pool.map(self._copy, copies, copies.values()))
        if self.signing_key is not None:
            result["manifest"] = self._store_manifest(file, result, self.signing_key, cached=True)
        return Published(result, equal.warnings, cached=True)

    def keep_photo(self, data: bytes) -> None:
        """Store the photo of a job that waits, where uploaded photos are. Raises Unavailable."""
        key = input_key(self.job.tenant, self.job.id)
        self.storage.put(key, data, "application/octet-stream")

    def _copy(self, source: str, key: str) -> None:
        try:
            self.storage.copy(source, key)
        except Unavailable as error:
            raise PublishFailed(error.detail) from error

    def _store_manifest(
        self,
        file: InputFile,
        result: dict[str, Any],
        signing_key: SigningKey,
        *,
        cached: bool = False,
    ) -> dict[str, Any]:
        making = Making(
            input_bytes=file.size,
            input_sha256=file.sha256,
            options=self.job.request["options"],
            result=result,
            started_at=self.job.started_at or self.job.created_at,
            finished_at=time.time(),
            job_id=self.job.id,
            cached=cached,
        )
        key = result_key(self.job.tenant, self.job.id, self.token, _MANIFEST)
        self._put(key, write_manifest(making, signing_key, program_version()), "json")
        return {"key": key}

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

    def put_at_client(
        self,
        image: dict[str, Any],
        fetcher: Fetcher,
        *,
        timeout_s: float,
        check: Callable[[], None],
    ) -> None:
        """Put the picture at the address that the request names.

        Tries again after a failure that may pass. ``check`` may raise to stop. Raises
        PublishRefused for a refusal, and PublishFailed after the last attempt.
        """
        url = self.job.request["output"]["store"]["url"]
        data = self.storage.get(image["key"], max_bytes=image["bytes"])
        headers = {"Content-Type": _CONTENT_TYPES[image["format"]]}
        for pause_s in (*_PUT_PAUSES_S, None):
            problem = _put(fetcher, url, data, headers, timeout_s=timeout_s, check=check)
            if problem is None:
                return
            if pause_s is None or not problem.retryable:
                raise problem
            _pause(pause_s, check)

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


def _put(
    fetcher: Fetcher,
    url: str,
    data: bytes,
    headers: dict[str, str],
    *,
    timeout_s: float,
    check: Callable[[], None],
) -> PublishFailed | None:
    """Put once. Return why it failed, or None."""
    try:
        status = fetcher.put(url, data, headers, timeout_s=timeout_s, check=check)
    except InputForbidden as error:
        return PublishRefused(f"output.store: {error.detail}")
    except InputError as error:
        return PublishFailed(f"output.store: {error.detail}")
    if 200 <= status < 300:
        return None
    detail = f"output.store: the server responded with status {status}"
    passing = status >= 500 or status in {408, 425, 429}
    return PublishFailed(detail) if passing else PublishRefused(detail)


def _pause(seconds: float, check: Callable[[], None]) -> None:
    end_s = time.monotonic() + seconds
    while (left_s := end_s - time.monotonic()) > 0:
        check()
        time.sleep(min(left_s, _CHECK_S))


def _map_keys(value: Any, prefix: str, change: Callable[[str], str]) -> Any:
    """Return a value of JSON with each text that begins with ``prefix`` changed."""
    if isinstance(value, str):
        return change(value) if value.startswith(prefix) else value
    if isinstance(value, dict):
        return {name: _map_keys(each, prefix, change) for name, each in value.items()}
    if isinstance(value, list):
        return [_map_keys(each, prefix, change) for each in value]
    return value


def _with_keys(face: dict[str, Any], stored: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Return the face with object keys in place of the names of its crops."""
    crop = face["crop"]
    keys = crop and {f"{when}_key": stored[name]["key"] for when, name in crop.items()}
    return {**face, "crop": keys}
