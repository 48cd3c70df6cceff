"""A photo to send: a path, its bytes, or an open binary file that can be read again."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

Photo = str | os.PathLike[str] | bytes | IO[bytes]


@contextmanager
def opened(photo: Photo) -> Iterator[IO[bytes]]:
    """Yield the photo as a file at its beginning; it is read in pieces while it is sent.

    A file of the caller stays open, because the next try reads it again. Raises OSError, and
    TypeError for a file that cannot be read twice.
    """
    if isinstance(photo, bytes | bytearray | memoryview):
        yield io.BytesIO(photo)
    elif isinstance(photo, str | os.PathLike):
        with Path(photo).open("rb") as file:
            yield file
    else:
        if not photo.seekable():
            raise TypeError("the photo's file cannot be read a second time: give a path or bytes")
        photo.seek(0)
        yield photo


def size_bytes(photo: Photo) -> int:
    """Return the size of the photo. Raises OSError."""
    with opened(photo) as file:
        return file.seek(0, io.SEEK_END)
