"""Atomic files: a reader sees the old content or the whole new one, never a part."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def replaced_atomically(path: Path) -> Iterator[Path]:
    """Yield a path in the same folder to write to; at the end that file replaces ``path``.

    If the block raises, ``path`` stays as it was and the new file is removed. The folder is made if
    it is missing. Raises OSError.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    # The name does not contain that of ``path``, which may already be as long as allowed.
    unfinished = path.with_name(f".{os.getpid()}-{threading.get_ident()}.part")
    try:
        yield unfinished
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)  # it still exists only after an error
