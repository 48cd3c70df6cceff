"""Memory files: bytes that two processes share through a descriptor, never on a disk. Linux."""

from __future__ import annotations

import fcntl
import os

_SEALS = fcntl.F_SEAL_WRITE | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL


def create(name: str) -> int:
    """Return the descriptor of a new, empty memory file; the caller closes it."""
    return os.memfd_create(name, os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)


def write(fd: int, data: bytes | memoryview, start: int = 0) -> None:
    """Write all of ``data`` from byte ``start`` on. Raises OSError."""
    left = memoryview(data).cast("B")
    while left:
        written = os.pwrite(fd, left, start)
        left, start = left[written:], start + written


def read(fd: int, size: int) -> bytes:
    """Return the first ``size`` bytes. Raises OSError."""
    parts, start = [], 0
    while start < size:
        parts.append(os.pread(fd, size - start, start))
        start += len(parts[-1])
    return b"".join(parts)


def seal(fd: int) -> None:
    """Make the file read-only for good, for every process that has it open."""
    fcntl.fcntl(fd, fcntl.F_ADD_SEALS, _SEALS)
