"""The folder in which photos arrive: which of them are whole, and where those go that failed."""

from __future__ import annotations

import itertools
import time
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event

from watchfiles import watch

from facemend.folder.photos import PhotoFolder
from facemend.folder.result_names import fitting
from shared.atomic_file import replaced_atomically
from worker.commands.watch.source import numbered

#: A file without a byte is not written yet: programs create it first. After this time, it is bad.
EMPTY_SETTLES_S = 60.0


@dataclass
class FolderInbox:
    """A photo is whole once its size and time of change have not changed for ``settle_s``."""

    photos: PhotoFolder
    failed: Path
    settle_s: float
    _seen: dict[Path, tuple[tuple[int, int], float]] = field(default_factory=dict)
    _unsettled: int = 0

    @property
    def where(self) -> str:
        return str(self.photos.path)

    @property
    def settled(self) -> bool:
        return not self._unsettled

    def whole(self) -> list[Path]:
        """Look at the folder; return the photos that have arrived whole, by name.

        Hidden files and files that are no photos by their names are left alone: that is how
        programs call files that they still write.
        """
        now, before = time.monotonic(), self._seen
        self._seen = {}
        whole = []
        for path, reason in self.photos.files():
            if reason:
                continue
            try:
                found = path.stat()
            except OSError:
                continue  # it was moved away
            state = (found.st_size, found.st_mtime_ns)
            same = before.get(path)
            since = same[1] if same and same[0] == state else now
            self._seen[path] = (state, since)
            if now - since >= (self.settle_s if found.st_size else EMPTY_SETTLES_S):
                whole.append(path)
        self._unsettled = len(self._seen) - len(whole)
        return whole

    def name_of(self, photo: Path) -> str:
        return self.photos.name_of(photo)

    def result_name(self, photo: Path) -> str:
        return self.photos.name_of(photo)

    def shown(self, photo: Path) -> str:
        return str(photo)

    def fetched(self, photo: Path) -> AbstractContextManager[None]:
        return nullcontext()

    def has_changed(self, photo: Path) -> bool:
        try:
            found = photo.stat()
        except OSError:
            return True
        known = self._seen.get(photo)
        return known is None or known[0] != (found.st_size, found.st_mtime_ns)

    def set_aside(self, photo: Path, reason: str) -> str:
        """Move a photo into the folder of those that failed. Nothing there is overwritten."""
        for number in itertools.count(1):
            target = fitting(self.failed / numbered(self.photos.name_of(photo), number))
            told = fitting(target.with_name(f"{target.name}.txt"))
            if not target.exists() and not told.exists():
                break
        with replaced_atomically(told) as unfinished:
            unfinished.write_text(f"{reason}\n", errors="backslashreplace")
        photo.rename(target)
        return str(target)

    def wait(self, stop: Event, seconds: float) -> None:
        """Wait for a change in the folder, or for the next look: a change may go unnoticed."""
        if not self.settled:
            seconds = min(seconds, max(0.1, self.settle_s / 2))
        try:
            for _ in watch(
                self.photos.path,
                stop_event=stop,
                rust_timeout=int(seconds * 1000),
                yield_on_timeout=True,
                recursive=self.photos.recursive,
                debounce=200,
                raise_interrupt=False,
            ):
                return
        except (OSError, RuntimeError):  # the folder is away, or of a kind that cannot be watched
            stop.wait(seconds)
