"""The record of a folder of results: which photo gave which result, and how.

It is a file of JSON lines beside the results; the last line of a photo counts. A photo that a
service restores has a line before it is sent, with the idempotency key of its request, so that a
run that was interrupted goes on with the same job. A stop at any moment loses at most the photo
that was in work.
"""

from __future__ import annotations

import contextlib
import json
import os
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

RECORD_NAME = ".facemend-results.jsonl"


@dataclass(frozen=True, slots=True)
class Sent:
    """A photo that was sent to a service: the key of its request, and its job if that is known."""

    key: str
    job_id: str | None = None


@dataclass(frozen=True, slots=True)
class _Entry:
    bytes: int
    mtime_ns: int
    options: str
    results: tuple[str, ...] = ()  # below the folder; the picture first
    sent: Sent | None = None


class Record:
    """Thread-safe. ``options`` identifies how photos are restored now."""

    def __init__(self, folder: Path, options: str, entries: dict[str, _Entry]) -> None:
        self._folder, self._options, self._entries = folder, options, entries
        self._lock = threading.Lock()

    @classmethod
    def of_folder(cls, folder: Path, options: str) -> Record:
        """Read what is there; a line that cannot be read is as good as none."""
        entries: dict[str, _Entry] = {}
        with contextlib.suppress(OSError):
            for line in (folder / RECORD_NAME).read_bytes().splitlines():
                with contextlib.suppress(ValueError, TypeError, KeyError):
                    content: dict[str, Any] = json.loads(line)
                    photo, results = str(content.pop("photo")), tuple(content.pop("results"))
                    sent = Sent(**content.pop("sent")) if "sent" in content else None
                    entries[photo] = _Entry(results=results, sent=sent, **content)
        return cls(folder, options, entries)

    def result_of(self, photo: str, source: Path) -> Path | None:
        """The result, if ``source`` was restored in the same way and has not changed since."""
        entry = self._current(photo, source)
        if entry is None or not entry.results:
            return None
        results = [self._folder / name for name in entry.results]
        return results[0] if all(path.is_file() for path in results) else None

    def sent(self, photo: str, source: Path) -> Sent | None:
        """What was sent for the photo, if there is no result yet and it has not changed since."""
        entry = self._current(photo, source)
        return entry.sent if entry else None

    def result_before(self, photo: str) -> Path | None:
        """The result of an earlier version of the photo, or of this one."""
        with self._lock:
            entry = self._entries.get(photo)
        return self._folder / entry.results[0] if entry and entry.results else None

    def results(self) -> list[Path]:
        """All results that are in the folder."""
        with self._lock:
            found = [name for entry in self._entries.values() for name in entry.results]
        return [path for path in map(self._folder.joinpath, found) if path.exists()]

    def forget(self, photo: str) -> None:
        """Let the photo's result be overwritten."""
        with self._lock:
            if entry := self._entries.pop(photo, None):
                kept = _Entry(entry.bytes, entry.mtime_ns, entry.options, sent=entry.sent)
                self._entries[photo] = kept

    def add(self, photo: str, source: os.stat_result, results: list[Path]) -> None:
        """Note a result that was written; ``source`` is how the photo was. Raises OSError."""
        names = tuple(path.relative_to(self._folder).as_posix() for path in results)
        self._write(photo, _Entry(source.st_size, source.st_mtime_ns, self._options, names))

    def add_sent(self, photo: str, source: os.stat_result, sent: Sent) -> None:
        """Note that the photo is sent now, or was accepted as a job. Raises OSError."""
        state = (source.st_size, source.st_mtime_ns, self._options)
        self._write(photo, _Entry(*state, sent=sent))

    def _current(self, photo: str, source: Path) -> _Entry | None:
        with self._lock:
            entry = self._entries.get(photo)
        if entry is None or entry.options != self._options:
            return None
        try:
            now = source.stat()
        except OSError:
            return None
        same = (now.st_size, now.st_mtime_ns) == (entry.bytes, entry.mtime_ns)
        return entry if same else None

    def _write(self, photo: str, entry: _Entry) -> None:
        line: dict[str, Any] = {
            "photo": photo,
            "bytes": entry.bytes,
            "mtime_ns": entry.mtime_ns,
            "options": entry.options,
            "results": list(entry.results),
        }
        if entry.sent:
            line["sent"] = {"key": entry.sent.key, "job_id": entry.sent.job_id}
        self._folder.mkdir(parents=True, exist_ok=True)
        with self._lock, (self._folder / RECORD_NAME).open("ab") as file:
            file.write(json.dumps(line).encode() + b"\n")
            self._entries[photo] = entry
