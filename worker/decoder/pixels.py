"""Photos into memory files and out of them: the side of the door that knows numpy."""

from __future__ import annotations

import mmap
from typing import Any, cast

import numpy as np
from numpy.typing import DTypeLike, NDArray

from worker.decoder import result_file as parcel
from worker.decoder.result_file import Decoded, Header, Part
from worker.imaging.decode import Format, Photo


def photo_of(decoded: Decoded) -> Photo:
    """The picture, over the very memory it was decoded into: nothing is copied until it is changed.

    ``decoded`` may be closed afterwards. Arrays may be written to; nobody else sees that.
    """
    header = decoded.header
    memory = mmap.mmap(decoded.fd, header.end, access=mmap.ACCESS_COPY)
    parts, size = header.parts(), (header.height, header.width)

    def array(name: str, kind: DTypeLike, *shape: int) -> NDArray[Any] | None:
        part = parts[name]
        if not part.size:
            return None
        flat = np.frombuffer(memory, kind, part.size // np.dtype(kind).itemsize, part.start)
        return flat.reshape(shape)

    return Photo(
        pixels=cast("NDArray[np.uint8]", array("pixels", np.uint8, *size, 3)),
        alpha=array("alpha", np.uint8, *size),
        icc=_bytes(memory, parts["icc"]),
        grey=header.grey,
        format=cast("Format", header.format),
        warnings=header.warnings,
        deep=array("deep", np.uint16, *size, 4 if header.alpha else 3),
    )


def pack(photo: Photo, fd: int) -> None:
    """Write all of ``photo`` into an empty memory file."""
    height, width = photo.pixels.shape[:2]
    header = Header(
        width=width,
        height=height,
        format=photo.format,
        grey=photo.grey,
        alpha=photo.alpha is not None,
        deep=photo.deep is not None,
        icc_bytes=len(photo.icc or b""),
        warnings=photo.warnings,
    )
    given = {"deep": photo.deep, "pixels": photo.pixels, "alpha": photo.alpha, "icc": photo.icc}
    for name, part in header.parts().items():
        thing = given[name]
        if isinstance(thing, np.ndarray):
            parcel.write(fd, np.ascontiguousarray(thing).data, part.start)
        elif thing:
            parcel.write(fd, thing, part.start)
    parcel.write_header(fd, header)


def _bytes(memory: mmap.mmap, part: Part) -> bytes | None:
    return memory[part.start : part.start + part.size] or None
