"""Photos as numpy arrays: written into a memory file by the child, mapped from it by the engine."""

from __future__ import annotations

import mmap
from typing import Any, cast

import numpy as np
from numpy.typing import DTypeLike, NDArray

from worker.decoder import memory_file
from worker.decoder.decoded_photo import DecodedPhoto, Header, Region, write_header
from worker.imaging.decode import Format, Photo


def photo_of(decoded: DecodedPhoto) -> Photo:
    """Return the photo. Its arrays lie in the memory file itself and are copied only when written.

    ``decoded`` may be closed afterwards. A write to the arrays stays in this process.
    """
    header = decoded.header
    mapped = mmap.mmap(decoded.fd, header.end, access=mmap.ACCESS_COPY)
    regions, size = header.regions(), (header.height, header.width)

    def array(name: str, kind: DTypeLike, *shape: int) -> NDArray[Any] | None:
        region = regions[name]
        if not region.size:
            return None
        flat = np.frombuffer(mapped, kind, region.size // np.dtype(kind).itemsize, region.start)
        return flat.reshape(shape)

    return Photo(
        pixels=cast("NDArray[np.uint8]", array("pixels", np.uint8, *size, 3)),
        alpha=array("alpha", np.uint8, *size),
        icc=_bytes(mapped, regions["icc"]),
        grey=header.grey,
        format=cast("Format", header.format),
        warnings=header.warnings,
        deep=array("deep", np.uint16, *size, 4 if header.alpha else 3),
        dpi=header.dpi,
        colour_chunks=_bytes(mapped, regions["colour_chunks"]) or b"",
        lossless=header.lossless,
        coded=_bytes(mapped, regions["coded"]),
    )


def write_photo(photo: Photo, fd: int) -> None:
    """Write all of ``photo`` into an empty memory file."""
    height, width = photo.pixels.shape[:2]
    header = Header(
        width=width,
        height=height,
        format=photo.format,
        grey=photo.grey,
        alpha=photo.alpha is not None,
        deep=photo.deep is not None,
        lossless=photo.lossless,
        dpi=photo.dpi,
        icc_bytes=len(photo.icc or b""),
        chunk_bytes=len(photo.colour_chunks),
        coded_bytes=len(photo.coded or b""),
        warnings=photo.warnings,
    )
    for name, region in header.regions().items():
        content = getattr(photo, name)
        if isinstance(content, np.ndarray):
            memory_file.write(fd, np.ascontiguousarray(content).data, region.start)
        elif content:
            memory_file.write(fd, content, region.start)
    write_header(fd, header)


def _bytes(mapped: mmap.mmap, region: Region) -> bytes | None:
    return mapped[region.start : region.start + region.size] or None
