"""The prefix of a bucket at which photos arrive as objects."""

from __future__ import annotations

import hashlib
import itertools
import posixpath
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from threading import Event
from typing import TYPE_CHECKING

from facemend.folder.photos import PHOTO_SUFFIXES
from facemend.folder.record import Version
from facemend.folder.result_names import fitting
from shared.errors import InputNotFound
from worker.commands.watch.location import Location
from worker.commands.watch.source import numbered

if TYPE_CHECKING:
    from shared.storage.bucket import ObjectStorage, StoredObject


@dataclass
class BucketInbox:
    """Objects below a location. One is whole when it is listed; its ETag says its version.

    ``without``: locations whose objects are passed over, as those of the results. Photos are
    fetched into ``folder``. A photo that failed stays where it is, because S3 cannot delete a
    certain version of an object; it is copied to ``failed``.
    """

    storage: ObjectStorage
    location: Location
    failed: Location
    folder: Path
    recursive: bool = False
    without: tuple[Location, ...] = ()
    settled: bool = field(default=True, init=False)
    _names: dict[Path, str] = field(default_factory=dict, init=False)
    _versions: dict[Path, Version] = field(default_factory=dict, init=False)

    @property
    def where(self) -> str:
        return str(self.location)

    def whole(self) -> list[Path]:
        found: dict[Path, str] = {}
        versions: dict[Path, Version] = {}
        for stored in self.storage.list(self.location.prefix, recursive=self.recursive):
            name = stored.key.removeprefix(self.location.prefix)
            if self._is_photo(stored.key, name):
                path = self._path(name)
                found[path], versions[path] = name, _version(stored)
        self._names, self._versions = found, versions
        return sorted(found, key=found.__getitem__)

    def name_of(self, photo: Path) -> str:
        return self._names[photo]

    def result_name(self, photo: Path) -> str:
        """Return the key as a path that every file system accepts and that stays below a folder."""
        parts = [part for part in self._names[photo].replace("\0", "_").split("/") if part]
        return "/".join(fitting(Path(part)).name for part in parts)

    def shown(self, photo: Path) -> str:
        return f"{self.location}{self._names[photo]}"

    def version_of(self, photo: Path) -> Version:
        """Return the version at the last look. Raises FileNotFoundError."""
        try:
            return self._versions[photo]
        except KeyError:
            raise FileNotFoundError(str(photo)) from None

    @contextmanager
    def fetched(self, photo: Path) -> Iterator[None]:
        photo.parent.mkdir(parents=True, exist_ok=True)
        try:
            with photo.open("wb") as file:
                for piece in self.storage.stream(self._key(photo), etag=self._etag(photo)):
                    file.write(piece)
            yield
        finally:
            shutil.rmtree(photo.parent, ignore_errors=True)

    def has_changed(self, photo: Path) -> bool:
        try:
            return self.storage.head(self._key(photo)).etag != self._etag(photo)
        except InputNotFound:
            return True

    def set_aside(self, photo: Path, reason: str) -> str:
        for number in itertools.count(1):
            name = numbered(self._names[photo], number)
            key = f"{self.failed.prefix}{name}"
            taken = self.storage.find([key, f"{key}.txt"])
            if not taken:
                break
        told = f"{reason}\n".encode(errors="backslashreplace")
        self.storage.put(f"{key}.txt", told, "text/plain; charset=utf-8")
        self.storage.copy(self._key(photo), key, etag=self._etag(photo))
        return f"{self.failed}{name}"

    def wait(self, stop: Event, seconds: float) -> None:
        stop.wait(seconds)

    def _is_photo(self, key: str, name: str) -> bool:
        parts = PurePosixPath(name).parts
        if any(part.startswith(".") for part in parts) or name.endswith("/"):
            return False
        if any(key.startswith(other.prefix) for other in (*self.without, self.failed)):
            return False
        return posixpath.splitext(name)[1].lower() in PHOTO_SUFFIXES

    def _path(self, name: str) -> Path:
        """Return where a photo is fetched to: its own name, in a folder of its own."""
        folder = hashlib.sha256(name.encode()).hexdigest()[:32]
        last = fitting(Path(name.rpartition("/")[2].replace("\0", "_")))
        return self.folder / folder / last

    def _key(self, photo: Path) -> str:
        return f"{self.location.prefix}{self._names[photo]}"

    def _etag(self, photo: Path) -> str:
        return self._versions[photo].etag or ""


def _version(stored: StoredObject) -> Version:
    return Version(stored.bytes, etag=stored.etag)
