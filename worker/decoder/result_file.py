"""What a decoder child hands on: one memory file with a description in front and raw pixels behind.

| from byte  | what                                                                              |
|------------|-----------------------------------------------------------------------------------|
| 0          | JSON, then zeros: ``{"photo": {…}}`` as in ``Header``, or ``{"error": {…}}``       |
| 65,536     | ``deep`` (uint16), ``pixels``, ``alpha``, ``icc``, each from a multiple of 64 on    |

Whoever wrote it had read a stranger's file, so nothing in it is believed unchecked.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Self

from shared.errors import (
    CorruptImage,
    FacemendError,
    ImageTooManyPixels,
    InputTooLarge,
    Internal,
    UnsupportedImage,
)

HEAD_BYTES = 65_536
MAX_ICC_BYTES = 20_000_000
_MAX_SIDE_PX = 1_000_000
_MAX_WARNINGS = 8
_MAX_WORDS = 300
_ALIGNMENT = 64
_FORMATS = frozenset({"jpeg", "png", "webp", "bmp", "tiff", "gif"})
_ERRORS: dict[str, type[FacemendError]] = {
    kind.__name__: kind
    for kind in (CorruptImage, ImageTooManyPixels, InputTooLarge, Internal, UnsupportedImage)
}
_SEALS = fcntl.F_SEAL_WRITE | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL


@dataclass(frozen=True, slots=True)
class Part:
    """Where something lies in the memory file."""

    start: int
    size: int


@dataclass(frozen=True, slots=True)
class Header:
    """All of a ``Photo`` but its arrays; ``alpha`` and ``deep`` say whether they are there."""

    width: int
    height: int
    format: str
    grey: bool = False
    alpha: bool = False
    deep: bool = False
    icc_bytes: int = 0
    warnings: tuple[str, ...] = ()

    def parts(self) -> dict[str, Part]:
        """What lies where; nothing is left out, but sizes may be 0."""
        area = self.width * self.height
        sizes = {
            "deep": area * (4 if self.alpha else 3) * 2 * self.deep,
            "pixels": area * 3,
            "alpha": area * self.alpha,
            "icc": self.icc_bytes,
        }
        parts, start = {}, HEAD_BYTES
        for name, size in sizes.items():
            parts[name] = Part(start, size)
            start += -(-size // _ALIGNMENT) * _ALIGNMENT
        return parts

    @property
    def end(self) -> int:
        """Bytes of the whole memory file, at least."""
        last = self.parts()["icc"]
        return last.start + last.size


class Decoded:
    """An upright picture as raw bytes in a sealed memory file: ``fd`` is ours until ``close``."""

    def __init__(self, fd: int) -> None:
        """Raises what the decoder child said, or CorruptImage where it said nothing readable.

        ``fd`` is taken over only by an instance: the caller of a constructor that raises keeps it.
        """
        self.header = _read(fd)
        self.fd = fd

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the memory, unless somebody else has it open too. Twice does no harm."""
        fd, self.fd = self.fd, -1
        if fd >= 0:
            os.close(fd)


def memory_file(name: str) -> int:
    """A new, empty memory file; nothing of it is ever on a disk."""
    return os.memfd_create(name, os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)


def seal(fd: int) -> None:
    """From here on nobody can change it, whoever has it open."""
    fcntl.fcntl(fd, fcntl.F_ADD_SEALS, _SEALS)


def write(fd: int, data: bytes | memoryview, start: int = 0) -> None:
    """All of it, at this place."""
    left = memoryview(data).cast("B")
    while left:
        written = os.pwrite(fd, left, start)
        left, start = left[written:], start + written


def write_header(fd: int, header: Header) -> None:
    """Written last: what has a header is whole."""
    os.ftruncate(fd, header.end)
    _write_head(fd, {"photo": asdict(header)})


def write_error(fd: int, error: FacemendError) -> None:
    """In place of a photo."""
    said = {"kind": type(error).__name__, "detail": error.detail[:_MAX_WORDS]}
    _write_head(fd, {"error": said})


def _write_head(fd: int, said: Mapping[str, Any]) -> None:
    write(fd, json.dumps(said).encode()[:HEAD_BYTES].ljust(HEAD_BYTES, b"\0"))


def _read(fd: int) -> Header:
    try:
        said = json.loads(os.pread(fd, HEAD_BYTES, 0).rstrip(b"\0"))
        found = _error(said["error"]) if "error" in said else _header(said["photo"])
    except (ValueError, TypeError, KeyError, RecursionError):
        raise CorruptImage("the decoder handed on nothing that can be read") from None
    if isinstance(found, FacemendError):
        raise found
    if os.fstat(fd).st_size < found.end:
        raise CorruptImage("the decoder handed on less than it said")
    return found


def _error(said: Mapping[str, Any]) -> FacemendError:
    return _ERRORS[said["kind"]](_words(said["detail"]))


def _header(said: Mapping[str, Any]) -> Header:
    warnings = [_words(warning) for warning in said["warnings"]]
    if said["format"] not in _FORMATS or len(warnings) > _MAX_WARNINGS:
        raise ValueError("unknown format or too many warnings")
    return Header(
        width=_count(said["width"], 1, _MAX_SIDE_PX),
        height=_count(said["height"], 1, _MAX_SIDE_PX),
        format=str(said["format"]),
        grey=said["grey"] is True,
        alpha=said["alpha"] is True,
        deep=said["deep"] is True,
        icc_bytes=_count(said["icc_bytes"], 0, MAX_ICC_BYTES),
        warnings=tuple(warnings),
    )


def _count(value: object, least: int, most: int) -> int:
    if type(value) is not int or not least <= value <= most:
        raise ValueError(f"{value!r:.20} is no number from {least} to {most}")
    return value


def _words(text: object) -> str:
    """A short line: it goes to a person and into a log."""
    if not isinstance(text, str):
        raise TypeError("no words")
    return "".join(letter if letter.isprintable() else " " for letter in text[:_MAX_WORDS])
