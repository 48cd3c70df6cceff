"""A folder that only its owner may read."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from shared.errors import StackFailed

_OTHERS = 0o077  # group and everybody else


def make_private(folder: Path, *, sign: str) -> None:
    """Make a folder, or close an existing one of ours to other users.

    A folder is ours if it is empty or contains the file ``sign``. Files in a folder that was open
    are closed too. Raises StackFailed if it belongs to another user or holds other things, and
    OSError.
    """
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    status = folder.stat()
    if status.st_uid != os.geteuid():
        raise StackFailed(f"{folder} belongs to another user; choose another folder")
    if not status.st_mode & _OTHERS:
        return
    if not (folder / sign).exists() and any(folder.iterdir()):
        raise StackFailed(
            f"{folder} is open to other users and holds files that are not Facemend's; "
            f"choose an empty folder, or close it with chmod 700"
        )
    folder.chmod(0o700)
    for path in folder.rglob("*"):
        if not path.is_symlink():
            path.chmod(stat.S_IMODE(path.stat().st_mode) & ~_OTHERS)
