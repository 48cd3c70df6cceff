"""Which files of a folder are photos."""

from __future__ import annotations

import stat
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

#: A folder's other files are left alone. The content decides whether a file is a photo.
PHOTO_SUFFIXES = frozenset(
    {".jpg", ".jpeg", ".jpe", ".jfif", ".pjpeg", ".pjp", ".png", ".webp", ".bmp", ".tif", ".tiff"}
    | {".gif", ".avif", ".heic", ".heif"}
)


@dataclass
class PhotoFolder:
    """The files below a folder. ``without``: folders that are passed over, as that of the results.

    ``left_out`` counts the subfolders that were passed over because it is not ``recursive``.
    """

    path: Path
    recursive: bool = False
    without: tuple[Path, ...] = ()
    left_out: int = field(default=0, init=False)

    def name_of(self, photo: Path) -> str:
        """The name of a photo in a record: its path below the folder."""
        return photo.relative_to(self.path).as_posix()

    def files(self) -> Iterator[tuple[Path, str | None]]:
        """Yield each file and why it is not restored (None: it is). Raises OSError."""
        self.left_out = 0
        return self._walk(self.path)

    def _walk(self, folder: Path) -> Iterator[tuple[Path, str | None]]:
        for path in sorted(folder.iterdir()):
            if path.is_dir() and not path.is_symlink():
                yield from self._walk_into(path)
            else:
                yield path, reason_to_skip(path)

    def _walk_into(self, folder: Path) -> Iterator[tuple[Path, str | None]]:
        if any(other.exists() and folder.samefile(other) for other in self.without):
            return
        if folder.name.startswith("."):
            yield folder, "a hidden folder"
        elif self.recursive:
            yield from self._walk(folder)
        else:
            self.left_out += 1

    def nothing_found(self, found: list[tuple[Path, str | None]]) -> str:
        """Say why there is nothing to do. ``found``: all ``files``."""
        told = f"{self.path} holds no photo"
        if self.left_out:
            return f"{told}; {self.left_out} subfolder(s) were left out: use --recursive."
        if found:
            path, reason = found[0]
            return f"{told} ({path.name}: {reason})."
        return f"{told}: it is empty."


def reason_to_skip(path: Path) -> str | None:
    """Why a file of a folder is not restored; None if it is."""
    if path.name.startswith("."):
        return "a hidden file"
    try:
        mode = path.stat().st_mode
    except OSError:
        return "a link that leads nowhere" if path.is_symlink() else "it cannot be read"
    if stat.S_ISDIR(mode):
        return "a link to a folder"
    if not stat.S_ISREG(mode):
        return "not a regular file"
    if path.suffix.lower() not in PHOTO_SUFFIXES:
        return f"not a photo by its name ({path.suffix or 'no suffix'})"
    return None
