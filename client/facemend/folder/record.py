"""The record of a folder of results: which photo gave which result, and how.

It consists of JSON lines beside the results; the last line of a photo counts. A photo that a
service restores has a line before it is sent, with the idempotency key of its request, so that a
run that was interrupted goes on with the same job. A stop at any moment loses at most the photo
that was in work.
"""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from facemend.folder.results import FolderResults, Results


@dataclass(frozen=True, slots=True)
class Version:
    """How a photo is: a file by its bytes and its time of change, an object by its ETag."""

    bytes: int
    mtime_ns: int = 0
    etag: str | None = None


def version_of_file(path: Path) -> Version:
    """Return the version of a file. Raises OSError."""
    found = path.stat()
    return Version(found.st_size, found.st_mtime_ns)


@dataclass(frozen=True, slots=True)
class Sent:
    """A photo that was sent to a service: the key of its request, and its job if that is known."""

    key: str
    job_id: str | None = None


@dataclass(frozen=True, slots=True)
class _Entry:
    version: Version
    options: str
    results: tuple[str, ...] = ()  # below the folder; the picture first
    sent: Sent | None = None
    failed: str | None = None  # why

    @classmethod
    def of_line(cls, content: dict[str, Any]) -> _Entry:
        """Raises KeyError, TypeError, ValueError."""
        version = Version(content["bytes"], content["mtime_ns"], content.get("etag"))
        sent = Sent(**content["sent"]) if "sent" in content else None
        results = tuple(content["results"])
        return cls(version, content["options"], results, sent, content.get("failed"))

    def line(self, photo: str) -> bytes:
        line: dict[str, Any] = {
            "photo": photo,
            "bytes": self.version.bytes,
            "mtime_ns": self.version.mtime_ns,
            "options": self.options,
            "results": list(self.results),
        }
        if self.version.etag is not None:
            line["etag"] = self.version.etag
        if self.sent:
            line["sent"] = {"key": self.sent.key, "job_id": self.sent.job_id}
        if self.failed is not None:
            line["failed"] = self.failed
        return json.dumps(line).encode()


class Record:
    """Thread-safe. ``options`` identifies how photos are restored now.

    ``version_of`` says how a photo is at this moment; it raises OSError.
    """

    def __init__(
        self,
        results: Results,
        options: str,
        version_of: Callable[[Path], Version] = version_of_file,
    ) -> None:
        """Read what is there; a line that cannot be read is as good as none."""
        self._results, self._options, self.version_of = results, options, version_of
        self._entries: dict[str, _Entry] = {}
        self._lock = threading.Lock()
        for line in results.lines():
            with contextlib.suppress(ValueError, TypeError, KeyError):
                content: dict[str, Any] = json.loads(line)
                self._entries[str(content["photo"])] = _Entry.of_line(content)

    @classmethod
    def of_folder(cls, folder: Path, options: str) -> Record:
        """The record of a folder of results."""
        return cls(FolderResults(folder), options)

    def result_of(self, photo: str, source: Path) -> Path | None:
        """The result, if ``source`` was restored in the same way and has not changed since."""
        entry = self._current(photo, source)
        if entry is None or not entry.results:
            return None
        there = all(self._results.has(name) for name in entry.results)
        return self._path(entry.results[0]) if there else None

    def failed_before(self, photo: str, source: Path) -> bool:
        """Whether the photo failed, as ``add_failed`` noted, and has not changed since."""
        entry = self._current(photo, source)
        return entry is not None and entry.failed is not None

    def sent(self, photo: str, source: Path) -> Sent | None:
        """What was sent for the photo, if there is no result yet and it has not changed since."""
        entry = self._current(photo, source)
        return entry.sent if entry else None

    def result_before(self, photo: str) -> Path | None:
        """The result of an earlier version of the photo, or of this one."""
        with self._lock:
            entry = self._entries.get(photo)
        return self._path(entry.results[0]) if entry and entry.results else None

    def results(self) -> list[Path]:
        """All results that are there."""
        with self._lock:
            found = [name for entry in self._entries.values() for name in entry.results]
        return [self._path(name) for name in found if self._results.has(name)]

    def forget(self, photo: str) -> None:
        """Let the photo's result be overwritten."""
        with self._lock:
            if entry := self._entries.pop(photo, None):
                self._entries[photo] = _Entry(entry.version, entry.options, sent=entry.sent)

    def add(self, photo: str, version: Version, results: list[Path]) -> None:
        """Note a result that was written; ``version`` is how the photo was.

        Raises OSError, or an error of the store of the results.
        """
        folder = self._results.folder
        names = tuple(path.relative_to(folder).as_posix() for path in results)
        self._write(photo, _Entry(version, self._options, names))

    def add_sent(self, photo: str, version: Version, sent: Sent) -> None:
        """Note that the photo is sent now, or was accepted as a job. Raises as ``add`` does."""
        self._write(photo, _Entry(version, self._options, sent=sent))

    def add_failed(self, photo: str, version: Version, reason: str) -> None:
        """Note that the photo cannot be restored. Raises as ``add`` does."""
        self._write(photo, _Entry(version, self._options, failed=reason))

    def _path(self, name: str) -> Path:
        return self._results.folder / name

    def _current(self, photo: str, source: Path) -> _Entry | None:
        with self._lock:
            entry = self._entries.get(photo)
        if entry is None or entry.options != self._options:
            return None
        try:
            return entry if self.version_of(source) == entry.version else None
        except OSError:
            return None

    def _write(self, photo: str, entry: _Entry) -> None:
        self._results.keep(photo, entry.line(photo), entry.results)
        with self._lock:
            self._entries[photo] = entry
