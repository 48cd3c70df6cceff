"""Verifies weight files on this machine by their SHA-256 hash, before anything opens them."""

from __future__ import annotations

import contextlib
import hashlib
from pathlib import Path

from shared.errors import WeightsInvalid, WeightsMissing
from worker.weights.catalogue import ModelEntry


def verified_path(entry: ModelEntry, models_dir: Path) -> tuple[Path, str]:
    """The weights' file and its sha256, once that is what it should be.

    Raises WeightsMissing, naming the command that gets the file, or WeightsInvalid, naming the
    hash that was expected.
    """
    path = entry.path(models_dir)
    if not path.is_file():
        raise WeightsMissing(f"the weights of {entry.name} are not at {path}; {entry.cure}")
    return path, verify(entry, path)


def verify(entry: ModelEntry, path: Path) -> str:
    """The file's sha256; a first one, where none was published, is recorded beside the file.

    Raises WeightsInvalid when the file is not the one expected.
    """
    expected, actual = expected_sha256(entry, path), file_sha256(path)
    if expected is None:
        record_sha256(entry, path, actual)
    elif actual != expected:
        raise WeightsInvalid(f"{path} has sha256 {actual}; {expected} is expected")
    return actual


def expected_sha256(entry: ModelEntry, path: Path) -> str | None:
    """The published hash, else the one recorded at the first download, else None."""
    if entry.sha256:
        return entry.sha256
    record = _record_of(path)
    return record.read_text().split()[0] if record.is_file() else None


def file_sha256(path: Path) -> str:
    """Hash of a file in hex, read in pieces."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def record_sha256(entry: ModelEntry, path: Path, sha256: str) -> None:
    """Write the hash beside the file, as sha256sum would; a read-only folder goes without."""
    if entry.url is None:
        return  # what comes with the package is in the catalogue; an own file may change at will
    with contextlib.suppress(OSError):
        _record_of(path).write_text(f"{sha256}  {path.name}\n")


def _record_of(path: Path) -> Path:
    return path.with_name(path.name + ".sha256")
