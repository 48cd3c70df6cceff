"""Results below a prefix of a bucket, with the record of them."""

from __future__ import annotations

import hashlib
import json
import mimetypes
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from facemend.folder.results import RECORD_NAME
from worker.commands.watch.location import Location

if TYPE_CHECKING:
    from shared.storage.bucket import ObjectStorage

_LINES = ".facemend-results/"
_MAX_BYTES = 1_000_000_000  # of a record: some million photos
_READS_AT_ONCE = 16


@dataclass
class BucketResults:
    """Results are written into ``folder`` and moved to ``location``.

    S3 cannot append to an object, so each photo has an object with its line below
    ``.facemend-results/``. At each start, these are collected into one object.
    """

    storage: ObjectStorage
    location: Location
    folder: Path

    def lines(self) -> Iterable[bytes]:
        record = f"{self.location.prefix}{RECORD_NAME}"
        prefix = f"{self.location.prefix}{_LINES}"
        collected = b""
        if self.storage.find([record]):
            collected = self.storage.get(record, max_bytes=_MAX_BYTES)
        keys = [stored.key for stored in self.storage.list(prefix)]
        if not keys:
            return collected.splitlines()
        with ThreadPoolExecutor(_READS_AT_ONCE) as pool:
            read = pool.map(lambda key: self.storage.get(key, max_bytes=_MAX_BYTES), keys)
            lines = _last_of_each([*collected.splitlines(), *read])
        # A stop between the two steps leaves lines that are in both: they say the same.
        self.storage.put(record, b"".join(line + b"\n" for line in lines), "application/jsonl")
        self.storage.delete(keys)
        return lines

    def keep(self, photo: str, line: bytes, names: Sequence[str]) -> None:
        for name in names:
            written = self.folder / name
            kind = mimetypes.guess_type(name)[0] or "application/octet-stream"
            self.storage.put(self._key(name), written.read_bytes(), kind)
        digest = hashlib.sha256(photo.encode()).hexdigest()[:32]
        self.storage.put(self._key(f"{_LINES}{digest}.json"), line, "application/json")
        for name in names:
            (self.folder / name).unlink()

    def has(self, name: str) -> bool:
        """Return True: a result that somebody has removed from the bucket is not made again."""
        return True

    def shown(self, result: Path) -> str:
        """Return the full name of a result, for a person."""
        return f"{self.location}{result.relative_to(self.folder).as_posix()}"

    def _key(self, name: str) -> str:
        return f"{self.location.prefix}{name}"


def _last_of_each(lines: Sequence[bytes]) -> list[bytes]:
    last: dict[str, bytes] = {}
    for line in lines:
        try:
            last[json.loads(line)["photo"]] = line
        except (ValueError, TypeError, KeyError):
            continue
    return list(last.values())
