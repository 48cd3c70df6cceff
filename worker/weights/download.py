"""Get weights: resumed where they broke off, checked before they get their name."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path

from shared.errors import ModelUnavailable, WeightsInvalid, WeightsMissing
from worker.weights.catalogue import Entry
from worker.weights.files import expected_sha256, file_sha256, record_sha256
from worker.weights.sources import BrokenOff, Source

#: Told of bytes done and, where the source says so, in all.
OnBytes = Callable[[int, int | None], None]

#: Waits before a broken download goes on, in seconds; more bytes than before start them anew.
WAITS_S = (0.2, 1.0, 5.0)


def pull(
    entry: Entry,
    models_dir: Path,
    source: Source,
    on_bytes: OnBytes,
    *,
    waits_s: Sequence[float] = WAITS_S,
) -> Path:
    """Download the weights of ``entry`` into ``models_dir`` and answer where they are.

    What is there of an earlier try, ``FILE.part``, is gone on with. Raises WeightsMissing when the
    source has no such file or keeps breaking off (the part stays), WeightsInvalid when the hash is
    wrong (the part is removed), ModelUnavailable when the disk cannot be written.
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
    entry: Entry, part: Path, source: Source, on_bytes: OnBytes, waits_s: Sequence[float]
) -> None:
    """Append to the part until it is whole."""
    waits = list(waits_s)
    while True:
        had = _size(part)
        try:
            return _append(entry, part, source, on_bytes)
        except BrokenOff as error:
            if error.anew:
                part.unlink(missing_ok=True)
            elif _size(part) > had:
                waits = list(waits_s)
            if not waits:
                raise WeightsMissing(
                    f"{error}; {_size(part)} bytes are kept. Run the same command again: it goes "
                    "on where it stopped"
                ) from None
            time.sleep(waits.pop(0))


def _append(entry: Entry, part: Path, source: Source, on_bytes: OnBytes) -> None:
    tag = part.with_name(part.name + ".etag")
    etag = tag.read_text() if tag.is_file() else None
    with source.open(_size(part), etag) as stream:
        if entry.bytes and stream.total and stream.total != entry.bytes:
            raise WeightsInvalid(
                f"the file offered for {entry.name} has {stream.total} bytes; {entry.bytes} are "
                "expected"
            )
        if stream.etag and not stream.etag.startswith("W/"):
            tag.write_text(stream.etag)
        with part.open("ab" if stream.start else "wb") as file:
            on_bytes(stream.start, stream.total)
            for chunk in stream.chunks:
                file.write(chunk)
                on_bytes(file.tell(), stream.total)
    if stream.total and _size(part) != stream.total:
        raise BrokenOff(f"the source sent {_size(part)} of {stream.total} bytes")


def _accept(entry: Entry, part: Path, target: Path) -> None:
    """Give a whole and right part its name; throw a wrong one away."""
    actual, expected = file_sha256(part), expected_sha256(entry, target)
    part.with_name(part.name + ".etag").unlink(missing_ok=True)
    if expected is not None and actual != expected:
        part.unlink()
        raise WeightsInvalid(
            f"the download of {entry.name} has sha256 {actual}; {expected} is expected. It was "
            "thrown away"
        )
    part.replace(target)
    record_sha256(entry, target, actual)


def _size(part: Path) -> int:
    return part.stat().st_size if part.is_file() else 0
