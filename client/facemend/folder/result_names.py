"""Names of results: each result has a path of its own that the file system accepts."""

from __future__ import annotations

import hashlib
import os
import threading
import unicodedata
from collections.abc import Iterable
from pathlib import Path

#: Format → the suffixes of files that keep their name; others get the format's suffix in addition.
SUFFIXES = {
    "jpeg": (".jpg", ".jpeg", ".jpe", ".jfif", ".pjpeg", ".pjp"),
    "png": (".png",),
    "webp": (".webp",),
}
#: What ext4, XFS, APFS and NTFS accept (some count characters, which are never more).
MAX_NAME_BYTES = 255


class ResultNames:
    """Hands out paths. No path is handed out twice, from any number of threads.

    Two names that differ only in case or in Unicode normalization are one name here, because they
    are one file on the disks of macOS and Windows.
    """

    def __init__(self, taken: Iterable[Path] = ()) -> None:
        """``taken`` are the results of other photos."""
        self._lock = threading.Lock()
        self._taken = {_key(path) for path in taken}
        self._of_format: dict[tuple[Path, str], Path] = {}

    def claim(self, wanted: Path) -> Path:
        """``wanted``, shortened if its name is too long, numbered (``-2``) if it is taken."""
        with self._lock:
            number = 1
            while True:
                path = _numbered(wanted, number)
                if _key(path) not in self._taken:
                    self._taken.add(_key(path))
                    return path
                number += 1

    def of_format(self, target: Path, kind: str) -> Path:
        """``target`` if its suffix is one of the format, else ``scan.bmp.png``.

        ``scan.png`` may be the result of another photo. Asked again, it returns the same path.
        """
        if target.suffix.lower() in SUFFIXES.get(kind, (f".{kind}",)):
            return target
        if (target, kind) not in self._of_format:
            claimed = self.claim(target.with_name(f"{target.name}.{kind}"))
            self._of_format[target, kind] = claimed
        return self._of_format[target, kind]


def fitting(path: Path) -> Path:
    """The same path, its name cut to ``MAX_NAME_BYTES`` with a digest that keeps it unique."""
    name = os.fsencode(path.name)
    if len(name) <= MAX_NAME_BYTES:
        return path
    digest = "~" + hashlib.sha256(name).hexdigest()[:8]
    end = digest + path.suffix
    stem = os.fsencode(path.stem)[: MAX_NAME_BYTES - len(os.fsencode(end))]
    # What is no UTF-8, as a character that was cut in two, is dropped.
    return path.with_name(stem.decode("utf-8", "ignore") + end)


def _numbered(path: Path, number: int) -> Path:
    return fitting(path if number == 1 else path.with_name(f"{path.stem}-{number}{path.suffix}"))


def _key(path: Path) -> str:
    return unicodedata.normalize("NFC", str(path.absolute())).casefold()
