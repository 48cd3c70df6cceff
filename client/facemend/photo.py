"""A photo to send: a path, its bytes, or an open binary file that can be read again."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

#: How files of a type begin (RFC 2083, ITU-T T.81, TIFF 6.0, RFC 9649 and others).
_BEGINNINGS = {
    b"\xff\xd8\xff": "image/jpeg",
    b"\x89PNG\r\n\x1a\n": "image/png",
    b"II*\0": "image/tiff",
    b"MM\0*": "image/tiff",
    b"BM": "image/bmp",
    b"GIF8": "image/gif",
}

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


def content_type_of(photo: Photo) -> str:
    """Return the type of a photo by its first bytes. Raises ValueError, OSError."""
    with opened(photo) as file:
        head = file.read(12)
    if head[:4] == b"RIFF" and head[8:] == b"WEBP":
        return "image/webp"
    for beginning, found in _BEGINNINGS.items():
        if head.startswith(beginning):
            return found
    raise ValueError("the file is no JPEG, PNG, WebP, TIFF, BMP or GIF")
