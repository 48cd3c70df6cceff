"""The decoded photo in the result file of a decoder child: a header, then raw pixels.

| from byte | content                                                                             |
|-----------|-------------------------------------------------------------------------------------|
| 0         | JSON, padded with zeros: ``{"photo": {…}}`` as in ``Header``, or ``{"error": {…}}`` |
| 65,536    | ``deep`` (uint16), ``pixels``, ``alpha``, ``icc``, ``colour_chunks``, ``coded``,    |
|           | each aligned to 64 bytes                                                            |

The process that wrote the file had read an untrusted photo, so every value is checked.
"""

from __future__ import annotations

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
from worker.decoder import memory_file

HEAD_BYTES = 65_536
MAX_ICC_BYTES = 20_000_000
_MAX_CHUNK_BYTES = 1_000
_MAX_FILE_BYTES = 1 << 40
_MAX_DPI = 65_535
_MAX_SIDE_PX = 1_000_000
_MAX_WARNINGS = 8
_MAX_TEXT_CHARS = 300
_ALIGNMENT = 64
_FORMATS = frozenset({"jpeg", "png", "webp", "bmp", "tiff", "gif", "avif", "heic"})
_ERRORS: dict[str, type[FacemendError]] = {
    kind.__name__: kind
    for kind in (CorruptImage, ImageTooManyPixels, InputTooLarge, Internal, UnsupportedImage)
}


@dataclass(frozen=True, slots=True)
class Region:
    """``size`` bytes of the memory file, from byte ``start`` on."""

    start: int
    size: int


@dataclass(frozen=True, slots=True)
class Header:
    """A ``Photo`` without its arrays; ``alpha`` and ``deep`` say whether it has those arrays."""

    width: int
    height: int
    format: str
    grey: bool = False
    alpha: bool = False
    deep: bool = False
    lossless: bool = False
    dpi: tuple[float, float] | None = None
    icc_bytes: int = 0
    chunk_bytes: int = 0
    coded_bytes: int = 0
    warnings: tuple[str, ...] = ()

    def regions(self) -> dict[str, Region]:
        """Return the place of every array; the size of a missing one is 0."""
        area = self.width * self.height
        sizes = {
            "deep": area * (4 if self.alpha else 3) * 2 * self.deep,
            "pixels": area * 3,
            "alpha": area * self.alpha,
            "icc": self.icc_bytes,
            "colour_chunks": self.chunk_bytes,
            "coded": self.coded_bytes,
        }
        regions, start = {}, HEAD_BYTES
        for name, size in sizes.items():
            regions[name] = Region(start, size)
            start += -(-size // _ALIGNMENT) * _ALIGNMENT
        return regions

    @property
    def end(self) -> int:
        """The smallest size of the whole file, in bytes."""
        last = self.regions()["coded"]
        return last.start + last.size


class DecodedPhoto:
    """An upright photo as raw pixels in a sealed memory file, which ``close`` closes."""

    def __init__(self, fd: int) -> None:
        """Raises the error that the decoder child wrote; CorruptImage if the file is unreadable.

        The instance owns ``fd``. If the constructor raises, the caller still owns it.
        """
        self.header = _read(fd)
        self.fd = fd

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file; a second call does nothing. Other descriptors of it stay valid."""
        fd, self.fd = self.fd, -1
        if fd >= 0:
            os.close(fd)


def write_header(fd: int, header: Header) -> None:
    """Write the header, after the arrays: a file with a header is complete."""
    os.ftruncate(fd, header.end)
    _write_head(fd, {"photo": asdict(header)})


def write_error(fd: int, error: FacemendError) -> None:
    """Write an error in place of a photo."""
    content = {"kind": type(error).__name__, "detail": error.detail[:_MAX_TEXT_CHARS]}
    _write_head(fd, {"error": content})


def _write_head(fd: int, content: Mapping[str, Any]) -> None:
    memory_file.write(fd, json.dumps(content).encode()[:HEAD_BYTES].ljust(HEAD_BYTES, b"\0"))


def _read(fd: int) -> Header:
    try:
        content = json.loads(os.pread(fd, HEAD_BYTES, 0).rstrip(b"\0"))
        found = _error(content["error"]) if "error" in content else _header(content["photo"])
    except (ValueError, TypeError, KeyError, RecursionError):
        raise CorruptImage("the decoder wrote a result that cannot be read") from None
    if isinstance(found, FacemendError):
        raise found
    if os.fstat(fd).st_size < found.end:
        raise CorruptImage("the decoder wrote fewer bytes than its header says")
    return found


def _error(content: Mapping[str, Any]) -> FacemendError:
    return _ERRORS[content["kind"]](_text(content["detail"]))


def _header(content: Mapping[str, Any]) -> Header:
    warnings = [_text(warning) for warning in content["warnings"]]
    if content["format"] not in _FORMATS or len(warnings) > _MAX_WARNINGS:
        raise ValueError("unknown format or too many warnings")
    return Header(
        width=_count(content["width"], 1, _MAX_SIDE_PX),
        height=_count(content["height"], 1, _MAX_SIDE_PX),
        format=str(content["format"]),
        grey=content["grey"] is True,
        alpha=content["alpha"] is True,
        deep=content["deep"] is True,
        lossless=content["lossless"] is True,
        dpi=_dpi(content["dpi"]),
        icc_bytes=_count(content["icc_bytes"], 0, MAX_ICC_BYTES),
        chunk_bytes=_count(content["chunk_bytes"], 0, _MAX_CHUNK_BYTES),
        coded_bytes=_count(content["coded_bytes"], 0, _MAX_FILE_BYTES),
        warnings=tuple(warnings),
    )


def _count(value: object, least: int, most: int) -> int:
    if type(value) is not int or not least <= value <= most:
        raise ValueError(f"{value!r:.20} is no integer from {least} to {most}")
    return value


def _dpi(value: object) -> tuple[float, float] | None:
    if value is None:
        return None
    if not isinstance(value, list):
        raise TypeError("not a pair of numbers")
    x, y = (float(number) for number in value)
    if not (0 < x <= _MAX_DPI and 0 < y <= _MAX_DPI):
        raise ValueError("a resolution that no file has")
    return x, y


def _text(value: object) -> str:
    """Return a short line without control characters: it goes to a person and into a log."""
    if not isinstance(value, str):
        raise TypeError("not a string")
    letters = value[:_MAX_TEXT_CHARS]
    return "".join(letter if letter.isprintable() else " " for letter in letters)
