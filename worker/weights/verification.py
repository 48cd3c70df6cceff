"""Verifies weight files on this machine by their SHA-256 hash, before anything opens them."""

from __future__ import annotations

import contextlib
import hashlib
from pathlib import Path

from shared.errors import WeightsInvalid, WeightsMissing
from worker.weights.model_entry import ModelEntry


def verified_path(entry: ModelEntry, models_dir: Path) -> tuple[Path, str]:
    """Return the path of the weights and their SHA-256 in hex, after verification.

    Raises WeightsMissing, which names the command that installs the file, or WeightsInvalid, which
    names the expected hash.
    """
    path = entry.path(models_dir)
    if not path.is_file():
        raise WeightsMissing(f"the weights of {entry.name} are not at {path}; {entry.install_hint}")
    return path, verify(entry, path)


def verify(entry: ModelEntry, path: Path) -> str:
    """Return the SHA-256 of the file in hex; if no hash is known yet, record this one.

    Raises WeightsInvalid if the file has another hash than expected.
    """
    expected, actual = expected_sha256(entry, path), file_sha256(path)
    if expected is None:
        record_sha256(entry, path, actual)
    elif actual != expected:
        raise WeightsInvalid(f"{path} has sha256 {actual}; {expected} is expected")
    return actual


def expected_sha256(entry: ModelEntry, path: Path) -> str | None:
    """Return the published hash, else the one recorded at the first download, else None."""
    if entry.sha256:
        return entry.sha256
    record = _record_of(path)
    return record.read_text().split()[0] if record.is_file() else None


def file_sha256(path: Path) -> str:
    """Return the SHA-256 of a file in hex; the file is read in pieces."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def record_sha256(entry: ModelEntry, path: Path, sha256: str) -> None:
    """Write the hash beside the file in the format of sha256sum, if the folder is writable."""
    if entry.url is None:
        return  # the catalogue has the hashes of the package; an operator may change an own file
    with contextlib.suppress(OSError):
        _record_of(path).write_text(f"{sha256}  {path.name}\n")


def _record_of(path: Path) -> Path:
    return path.with_name(path.name + ".sha256")
