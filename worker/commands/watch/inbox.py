"""The folder in which photos arrive: which of them are whole, and where those go that failed."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path

from facemend.folder.photos import PhotoFolder
from facemend.folder.result_names import fitting
from shared.atomic_file import replaced_atomically

#: A file without a byte is not written yet: programs create it first. After this time, it is bad.
EMPTY_SETTLES_S = 60.0


@dataclass
class Inbox:
    """A photo is whole once its size and time of change have not changed for ``settle_s``."""

    photos: PhotoFolder
    failed: Path
    settle_s: float
    _seen: dict[Path, tuple[tuple[int, int], float]] = field(default_factory=dict)
    _unsettled: int = 0

    @property
    def settled(self) -> bool:
        """Whether no photo is still being written, as far as the last look knows."""
        return not self._unsettled

    def whole(self) -> list[Path]:
        """Look at the folder; return the photos that have arrived whole, by name.

        Hidden files and files that are no photos by their names are left alone: that is how
        programs call files that they still write. Raises OSError if the folder is away.
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

    def has_changed(self, photo: Path) -> bool:
        """Whether the photo is no longer as it was at the last look."""
        try:
            found = photo.stat()
        except OSError:
            return True
        known = self._seen.get(photo)
        return known is None or known[0] != (found.st_size, found.st_mtime_ns)

    def set_aside(self, photo: Path, reason: str) -> Path:
        """Move a photo into the folder of those that failed, with the reason in a file beside it.

        Nothing that is there is overwritten. Raises OSError.
        """
        name = self.photos.name_of(photo)
        number = 1
        while True:
            stem = self.failed / name
            wanted = stem if number == 1 else stem.with_name(f"{stem.stem}-{number}{stem.suffix}")
            target = fitting(wanted)
            told = fitting(target.with_name(f"{target.name}.txt"))
            if not target.exists() and not told.exists():
                break
            number += 1
        with replaced_atomically(told) as unfinished:
            unfinished.write_text(f"{reason}\n", errors="backslashreplace")
        photo.rename(target)
        return target
