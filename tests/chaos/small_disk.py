"""A disk that can be filled without harm: a tmpfs that only one process sees."""

from __future__ import annotations

import contextlib
import shlex
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_BYTES = 16 * 1024 * 1024
_CHUNK_BYTES = 4096
_MOUNT = f"mount -t tmpfs -o size={_BYTES} tmpfs"
# The first for root; the second for others, where the kernel lets them have a user namespace.
_WAYS = (["unshare", "--mount"], ["unshare", "--map-root-user", "--mount"])


class SmallDisk:
    """A tmpfs at ``folder``, mounted only for the program that ``launcher`` starts."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._way = next((way for way in _WAYS if _works(way)), None)

    @property
    def possible(self) -> bool:
        """Return whether this machine allows a mount."""
        return self._way is not None

    def launcher(self, program: str, *last: str) -> str:
        """An executable that becomes ``program``, with its own arguments and then the ``last``."""
        self._folder.mkdir(parents=True, exist_ok=True)
        mount = f"{_MOUNT} {shlex.quote(str(self._folder))}"
        inside = f'{mount} && exec {shlex.quote(program)} "$@" {shlex.join(last)}'
        path = self._folder.with_suffix(".sh")
        path.write_text(
            f'#!/bin/sh\nexec {shlex.join(self._way or [])} sh -c {shlex.quote(inside)} sh "$@"\n'
        )
        path.chmod(0o700)
        return str(path)

    @contextmanager
    def full(self, pid: int) -> Iterator[None]:
        """Keep the disk full for the process ``pid`` in the block."""
        ballast = Path(f"/proc/{pid}/root{self._folder}/ballast")
        with ballast.open("wb", buffering=0) as file, contextlib.suppress(OSError):
            while True:
                file.write(bytes(_CHUNK_BYTES))
        try:
            yield
        finally:
            ballast.unlink()


def _works(way: list[str]) -> bool:
    try:
        tried = subprocess.run(
            [*way, "sh", "-c", f"{_MOUNT} /tmp"], capture_output=True, timeout=10, check=False
        )
    except OSError:
        return False
    return tried.returncode == 0
