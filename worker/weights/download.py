"""Downloads weights: resumes an interrupted download, and verifies the file before its use."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path

from shared.errors import ModelUnavailable, WeightsInvalid, WeightsMissing
from worker.weights.model_entry import ModelEntry
from worker.weights.sources import DownloadInterrupted, Source
from worker.weights.verification import expected_sha256, file_sha256, record_sha256

#: Receives the bytes so far and the total (None if the source does not give it).
OnBytes = Callable[[int, int | None], None]

#: Waits before each retry, in seconds; after progress, they start again with the first.
RETRY_WAITS_S = (0.2, 1.0, 5.0)


def pull(
    entry: ModelEntry,
    models_dir: Path,
    source: Source,
    on_bytes: OnBytes,
    *,
    waits_s: Sequence[float] = RETRY_WAITS_S,
) -> Path:
    """Download the weights of ``entry`` into ``models_dir`` and return their path.

    An earlier download in ``FILE.part`` is resumed. Raises WeightsMissing if the source has no such
    file or is interrupted again and again (the part stays), WeightsInvalid if the hash is wrong
    (the part is removed), ModelUnavailable if the folder cannot be written.
    """
    target = entry.path(models_dir)
    part = target.with_name(target.name + ".part")
    try:
        models_dir.mkdir(parents=True, exist_ok=True)
        _fetch(entry, part, source, on_bytes, waits_s)
        _accept(entry, part, target)
    except OSError as error:
        raise ModelUnavailable(f"{models_dir} cannot be written: {error.strerror}") from None
    return target


def _fetch(
    entry: ModelEntry, part: Path, source: Source, on_bytes: OnBytes, waits_s: Sequence[float]
) -> None:
    """Append to the part until it is complete."""
    waits = list(waits_s)
    while True:
        had = _size(part)
        try:
            return _append(entry, part, source, on_bytes)
        except DownloadInterrupted as error:
            if error.restart:
                part.unlink(missing_ok=True)
            elif _size(part) > had:
                waits = list(waits_s)
            if not waits:
                raise WeightsMissing(
                    f"{error}; {_size(part)} bytes are kept. Run the same command again to "
                    "resume the download"
                ) from None
            time.sleep(waits.pop(0))


def _append(entry: ModelEntry, part: Path, source: Source, on_bytes: OnBytes) -> None:
    tag = part.with_name(part.name + ".etag")
    etag = tag.read_text() if tag.is_file() else None
    with source.open(_size(part), etag) as stream:
        if entry.bytes and stream.total and stream.total != entry.bytes:
            raise WeightsInvalid(
                f"the file of {entry.name} has {stream.total} bytes; {entry.bytes} are expected"
            )
        if stream.etag and not stream.etag.startswith("W/"):
            tag.write_text(stream.etag)
        with part.open("ab" if stream.start else "wb") as file:
            on_bytes(stream.start, stream.total)
            for chunk in stream.chunks:
                file.write(chunk)
                on_bytes(file.tell(), stream.total)
    if stream.total and _size(part) != stream.total:
        raise DownloadInterrupted(f"the source sent {_size(part)} of {stream.total} bytes")


def _accept(entry: ModelEntry, part: Path, target: Path) -> None:
    """Rename the part if its hash is right; delete it otherwise."""
    actual, expected = file_sha256(part), expected_sha256(entry, target)
    part.with_name(part.name + ".etag").unlink(missing_ok=True)
    if expected is not None and actual != expected:
        part.unlink()
        raise WeightsInvalid(
            f"the download of {entry.name} has sha256 {actual}; {expected} is expected. It was "
            "deleted"
        )
    part.replace(target)
    record_sha256(entry, target, actual)


def _size(part: Path) -> int:
    return part.stat().st_size if part.is_file() else 0
