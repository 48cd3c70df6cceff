"""The results of a batch: a manifest (JSON Lines) and an archive (ZIP) of all pictures.

The archive goes from the storage to the storage in pieces, so its size needs no memory. Several
processes may run this: each claims its own batches, and another repeats the work of a dead one.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterator
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import unquote, urlsplit

from zipstream import ZipStream

from shared.batches.batch import Batch, BatchItem
from shared.batches.store import BatchStore
from shared.contract.batch_rendering import represent_line
from shared.contract.batches import BatchManifestLine
from shared.errors import InputNotFound, Unavailable
from shared.jobs.job import Job, Status
from shared.manifests.batches import BatchManifests
from shared.storage.bucket import ObjectStorage
from shared.storage.keys import batch_result_key

_log = logging.getLogger(__name__)
_PAGE = 100
_CLAIM_S = 60.0
#: Bytes of an archive between two prolongations of the claim.
_KEEP_EVERY_BYTES = 32_000_000
_JSON_LINES, _ZIP = "application/jsonl", "application/zip"
_UNSAFE = re.compile(r"[^\w.()+-]+")
_MAX_STEM = 80


class BatchResults:
    """Stores the results of batches that have ended."""

    def __init__(
        self,
        batches: BatchStore,
        storage: ObjectStorage,
        *,
        archives: bool,
        stopping: Callable[[], bool] = lambda: False,
    ) -> None:
        """With ``archives`` each batch gets an archive, too."""
        self._batches, self._storage, self._archives = batches, storage, archives
        self._manifests = BatchManifests(storage)
        self._stopping = stopping

    def store_all(self) -> int:
        """Store the results of all batches that wait for them; return their number.

        Raises Unavailable; then the claim on the batch ends after a minute.
        """
        done = 0
        while not self._stopping() and (batch := self._batches.claim_finished(_CLAIM_S)):
            done += self._store(batch)
        return done

    def _store(self, batch: Batch) -> bool:
        # All jobs have ended, so nothing has to be restored from the manifest any more.
        self._manifests.remove(batch.tenant, batch.id)
        lines = [self._line(item, batch) for item in self._items(batch)]
        text = "".join(f"{line.model_dump_json()}\n" for line in lines).encode()
        key = batch_result_key(batch.tenant, batch.id, batch.generation, "manifest.jsonl")
        self._storage.put(key, text, _JSON_LINES)
        results: dict[str, Any] = {"manifest": {"key": key, "bytes": len(text)}}
        if self._archives and any(line.file for line in lines):
            archive = self._store_archive(batch, lines, text)
            if archive is None:
                return False
            results["archive"] = archive
        recorded = self._batches.record_results(batch, results)
        if recorded:
            _log.info("results of %s stored", batch.id, extra={"items": len(lines)})
        return recorded

    def _items(self, batch: Batch) -> Iterator[BatchItem]:
        for start in range(0, batch.total, _PAGE):
            yield from self._batches.items(batch.tenant, batch.id, start, _PAGE)

    def _line(self, item: BatchItem, batch: Batch) -> BatchManifestLine:
        return represent_line(item, batch, file=_file_name(item))

    def _store_archive(
        self, batch: Batch, lines: list[BatchManifestLine], manifest: bytes
    ) -> dict[str, Any] | None:
        """Store the archive. Returns None if the batch needs no results any more."""
        pictures = {line.file: line.image.key for line in lines if line.file and line.image}
        stored = self._storage.find(set(pictures.values()))
        archive = ZipStream()  # pictures are compressed already
        for name, key in pictures.items():
            if key in stored:
                archive.add(self._storage.stream(key), name)
        archive.add(manifest, "manifest.jsonl")
        key = batch_result_key(batch.tenant, batch.id, batch.generation, "pictures.zip")
        try:
            size = self._storage.put_stream(key, self._kept(archive, batch), _ZIP)
        except (InputNotFound, _NotNeededError):
            # A job was erased just now, or retried. If results are still needed, the claim ends.
            return None
        return {"key": key, "bytes": size}

    def _kept(self, pieces: ZipStream, batch: Batch) -> Iterator[bytes]:
        """Yield the pieces, and keep the claim meanwhile."""
        since = 0
        for piece in pieces:
            since += len(piece)
            if since >= _KEEP_EVERY_BYTES:
                since = 0
                if self._stopping():
                    raise Unavailable("The notifier shuts down")
                if not self._batches.keep_claim(batch, _CLAIM_S):
                    raise _NotNeededError
            yield piece


class _NotNeededError(Exception):
    """The batch was erased, or one of its jobs runs again."""


def _file_name(item: BatchItem) -> str | None:
    """Return the name of the picture of an item in the archive, or None without a picture.

    It begins with the index. The rest is from ``metadata.filename``, or the name of the input.
    """
    job = item.job
    if job is None or job.status is not Status.SUCCEEDED or not job.result:
        return None
    stem = _UNSAFE.sub("_", PurePosixPath(_original_name(job)).stem)[:_MAX_STEM].strip("._")
    extension = "jpg" if job.result["image"]["format"] == "jpeg" else job.result["image"]["format"]
    return f"{item.index + 1:04d}{'-' if stem else ''}{stem}.{extension}"


def _original_name(job: Job) -> str:
    given = job.request.get("input", {})
    if name := job.request.get("metadata", {}).get("filename"):
        return str(name).replace("\\", "/")
    if url := given.get("url"):
        return unquote(urlsplit(url).path)
    return str(given.get("key") or "")
