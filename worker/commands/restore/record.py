"""The record of a folder of results: which photo gave which result, and how.

It is a file of JSON lines beside the results, one line for each photo that was restored; the last
line of a photo counts. A stop at any moment loses at most the photo that was in work.
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
class _Entry:
    bytes: int
    mtime_ns: int
    options: str
    results: tuple[str, ...]  # below the folder; the picture first


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
                    entries[photo] = _Entry(results=results, **content)
        return cls(folder, options, entries)

    def result_of(self, photo: str, source: Path) -> Path | None:
        """The result, if ``source`` was restored in the same way and has not changed since."""
        entry = self._entries.get(photo)
        if entry is None or entry.options != self._options:
            return None
        try:
            now = source.stat()
        except OSError:
            return None
        results = [self._folder / name for name in entry.results]
        same = (now.st_size, now.st_mtime_ns) == (entry.bytes, entry.mtime_ns)
        return results[0] if same and all(path.is_file() for path in results) else None

    def results(self) -> list[Path]:
        """All results that are in the folder."""
        found = (name for entry in self._entries.values() for name in entry.results)
        return [path for path in map(self._folder.joinpath, found) if path.exists()]

    def forget(self, photo: str) -> None:
        """Let the photo's result be overwritten."""
        self._entries.pop(photo, None)

    def add(self, photo: str, source: os.stat_result, results: list[Path]) -> None:
        """Note a result that was written; ``source`` is how the photo was. Raises OSError."""
        names = [path.relative_to(self._folder).as_posix() for path in results]
        line = {
            "photo": photo,
            "bytes": source.st_size,
            "mtime_ns": source.st_mtime_ns,
            "options": self._options,
            "results": names,
        }
        with self._lock, (self._folder / RECORD_NAME).open("ab") as file:
            file.write(json.dumps(line).encode() + b"\n")
