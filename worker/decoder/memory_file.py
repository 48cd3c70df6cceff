"""Memory files: bytes that two processes share through a descriptor, never on a disk.

Where the system has none (macOS), a temporary file without a name takes the place of each. It is on
a disk, only for its user, and gone when it is closed.
"""

from __future__ import annotations

import fcntl
import os
import tempfile


def create(name: str) -> int:
    """Return the descriptor of a new, empty memory file; the caller closes it."""
    if hasattr(os, "memfd_create"):
        return os.memfd_create(name, os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    with tempfile.TemporaryFile(prefix=f"facemend-{name}-") as file:
        return os.dup(file.fileno())


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
    """Make a memory file read-only for good, for every process that has it open.

    A temporary file stays as it is: by then, only this process has it open.
    """
    if hasattr(os, "memfd_create"):
        seals = fcntl.F_SEAL_WRITE | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL
        fcntl.fcntl(fd, fcntl.F_ADD_SEALS, seals)
