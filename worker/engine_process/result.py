"""What the engine child made of one photo: pictures as files, and the facts of the job's record.

All of it is one memory file: the pictures, one after the other, then the facts and where each
picture lies, as JSON, and in the last eight bytes the length of that.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Self

from worker.decoder.result_file import memory_file, write

if TYPE_CHECKING:
    from shared.contract.restorations import ImageFormat

_TAIL_BYTES = 8


@dataclass(frozen=True, slots=True)
class Picture:
    """An encoded picture: ``size`` bytes from ``start`` on."""

    name: str
    format: ImageFormat
    width: int
    height: int
    start: int
    size: int


class Writer:
    """Writes it, in the child. ``fd`` is the caller's to close."""

    def __init__(self) -> None:
        self.fd = memory_file("finished")
        self._pictures: list[Picture] = []
        self._end = 0

    def add(self, name: str, data: bytes, format: ImageFormat, width: int, height: int) -> None:  # noqa: A002 - its name
        """Append a picture."""
        write(self.fd, data, self._end)
        self._pictures.append(Picture(name, format, width, height, self._end, len(data)))
        self._end += len(data)

    def close(self, facts: dict[str, Any]) -> None:
        """Nothing is readable before this."""
        pictures = [asdict(picture) for picture in self._pictures]
        head = json.dumps({"pictures": pictures, "facts": facts}).encode()
        write(self.fd, head + len(head).to_bytes(_TAIL_BYTES, "little"), self._end)


class Finished:
    """Reads it, in the worker. ``fd`` is ours until ``close``.

    ``facts`` has ``faces``, ``model``, ``background``, ``warnings``, ``timings_ms``; crops of a
    face are names of pictures.
    """

    def __init__(self, fd: int) -> None:
        self._fd = fd
        end = os.fstat(fd).st_size - _TAIL_BYTES
        size = int.from_bytes(os.pread(fd, _TAIL_BYTES, end), "little")
        head = json.loads(os.pread(fd, size, end - size))
        self.pictures = {each["name"]: Picture(**each) for each in head["pictures"]}
        self.facts: dict[str, Any] = head["facts"]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        os.close(self._fd)

    def read(self, picture: Picture) -> bytes:
        return os.pread(self._fd, picture.size, picture.start)
