"""The result file of one photo: encoded pictures, and the metadata for the job's record.

It is a memory file: the pictures one after the other, then JSON with the metadata and the place of
each picture, and in the last eight bytes the length of that JSON.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Self

from worker.decoder import memory_file

if TYPE_CHECKING:
    from shared.contract.restorations import ImageFormat

_TAIL_BYTES = 8


@dataclass(frozen=True, slots=True)
class Picture:
    """An encoded picture: ``size`` bytes of the result file, from byte ``start`` on."""

    name: str
    format: ImageFormat
    width: int
    height: int
    start: int
    size: int


class ResultFileWriter:
    """Writes the result file, in the engine process. The caller closes ``fd``."""

    def __init__(self) -> None:
        self.fd = memory_file.create("result")
        self._pictures: list[Picture] = []
        self._end = 0

    def add(self, name: str, data: bytes, format: ImageFormat, width: int, height: int) -> None:  # noqa: A002 - its name
        """Append a picture. Raises OSError."""
        memory_file.write(self.fd, data, self._end)
        self._pictures.append(Picture(name, format, width, height, self._end, len(data)))
        self._end += len(data)

    def close(self, metadata: dict[str, Any]) -> None:
        """Complete the file; nothing can be read before that. Raises OSError."""
        pictures = [asdict(picture) for picture in self._pictures]
        head = json.dumps({"pictures": pictures, "metadata": metadata}).encode()
        memory_file.write(self.fd, head + len(head).to_bytes(_TAIL_BYTES, "little"), self._end)


class ResultFile:
    """Reads the result file, in the worker. A context manager that closes ``fd``.

    ``pictures`` by name. ``metadata`` has ``faces``, ``model``, ``background``, ``warnings`` and
    ``timings_ms``; the crops of a face are names of pictures.
    """

    def __init__(self, fd: int) -> None:
        self._fd = fd
        end = os.fstat(fd).st_size - _TAIL_BYTES
        size = int.from_bytes(os.pread(fd, _TAIL_BYTES, end), "little")
        head = json.loads(os.pread(fd, size, end - size))
        self.pictures = {each["name"]: Picture(**each) for each in head["pictures"]}
        self.metadata: dict[str, Any] = head["metadata"]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        os.close(self._fd)

    def read(self, picture: Picture) -> bytes:
        """Return the encoded picture."""
        return os.pread(self._fd, picture.size, picture.start)
