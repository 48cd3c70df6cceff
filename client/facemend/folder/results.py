"""Where results are kept together with their record: a folder, or another store."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Protocol

RECORD_NAME = ".facemend-results.jsonl"


class Results(Protocol):
    """A place for results and for the lines of their record. Thread-safe.

    ``folder`` is where a result is written first. Every method raises OSError, or an error of the
    store.
    """

    @property
    def folder(self) -> Path: ...

    def lines(self) -> Iterable[bytes]:
        """Return the lines of the record; of two lines for a photo, the last one counts."""
        ...

    def keep(self, photo: str, line: bytes, names: Sequence[str]) -> None:
        """Keep the results ``names``, which are in ``folder``, and then the line of the photo."""
        ...

    def has(self, name: str) -> bool:
        """Return whether a result is there."""
        ...


class FolderResults:
    """A folder; its record is a file of JSON lines in it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._lock = threading.Lock()

    def lines(self) -> Iterable[bytes]:
        try:
            return (self.folder / RECORD_NAME).read_bytes().splitlines()
        except OSError:
            return ()

    def keep(self, photo: str, line: bytes, names: Sequence[str]) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        with self._lock, (self.folder / RECORD_NAME).open("a+b") as file:
            # A full disk, or a kill, may have cut the line before.
            if file.tell() and file.seek(-1, os.SEEK_END) >= 0 and file.read(1) != b"\n":
                line = b"\n" + line
            file.write(line + b"\n")

    def has(self, name: str) -> bool:
        return (self.folder / name).is_file()
