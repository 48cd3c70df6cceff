"""What the loop needs of the place where photos arrive: a folder, or a prefix of a bucket."""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path
from threading import Event
from typing import Protocol


class Source(Protocol):
    """Where photos arrive. A photo is named by a path, at which ``fetched`` makes it readable.

    Methods raise OSError or FacemendError if the place is away.
    """

    @property
    def where(self) -> str:
        """The place, for a person."""
        ...

    @property
    def settled(self) -> bool:
        """Whether no photo is still being written, as far as the last look knows."""
        ...

    def whole(self) -> list[Path]:
        """Look at the place; return the photos that have arrived whole, by name."""
        ...

    def name_of(self, photo: Path) -> str:
        """Return the name of a photo in the record: its path below the place."""
        ...

    def result_name(self, photo: Path) -> str:
        """Return the path of its result below the folder of the results."""
        ...

    def shown(self, photo: Path) -> str:
        """Return the full name of a photo, for a person."""
        ...

    def fetched(self, photo: Path) -> AbstractContextManager[None]:
        """During the block, the photo can be read at its path, as it was at the last look."""
        ...

    def has_changed(self, photo: Path) -> bool:
        """Return whether the photo is no longer as it was at the last look."""
        ...

    def set_aside(self, photo: Path, reason: str) -> str:
        """Put a photo that failed apart, with the reason in a file beside it; return where."""
        ...

    def wait(self, stop: Event, seconds: float) -> None:
        """Wait until something changes, or for some seconds."""
        ...


def numbered(name: str, number: int) -> str:
    """Return ``a.jpg`` for 1, ``a-2.jpg`` for 2, for names that are taken."""
    if number == 1:
        return name
    stem, dot, suffix = name.rpartition(".")
    return f"{stem}-{number}.{suffix}" if dot and "/" not in suffix else f"{name}-{number}"
