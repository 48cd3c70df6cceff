"""Photos on disk: which are meant, where each result goes, and restoring them one by one."""

from __future__ import annotations

import contextlib
import io
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from shared.errors import FacemendError, InputNotFound, InputTooLarge, PublishFailed
from worker.commands.demo_pictures import free_photo, spoil
from worker.engine import BackgroundUsed, FaceOptions, FaceRecord
from worker.imaging.decode import Photo, decode
from worker.imaging.encode import comparison, encode, output_format, require_room
from worker.imaging.limits import Limits

if TYPE_CHECKING:
    from worker.engine import Restorer

#: By name only, to leave the other files of a folder alone; the content decides in the end.
PHOTO_SUFFIXES = frozenset(
    {".jpg", ".jpeg", ".jpe", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif"}
)
_FORMATS = {".jpg": "jpeg", ".jpeg": "jpeg", ".png": "png", ".webp": "webp"}
_KEPT_SUFFIXES = {"jpeg": {".jpg", ".jpeg", ".jpe"}, "png": {".png"}, "webp": {".webp"}}
_QUALITY = 95
_IN_FLIGHT = 4  # while the faces of one photo are on the device, others are read and written


@dataclass(frozen=True, slots=True)
class Work:
    """One photo to restore. ``target`` has its final suffix only if ``exact``.

    ``data`` are the bytes of a photo that is not a file.
    """

    source: Path
    target: Path
    exact: bool = False
    data: bytes | None = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one photo; ``unchanged``: it was written, but nothing was restored."""

    source: Path
    status: Literal["restored", "unchanged", "failed", "skipped"]
    output: Path | None = None
    comparison: Path | None = None
    faces: tuple[FaceRecord, ...] = ()
    warnings: tuple[str, ...] = ()
    error: FacemendError | None = None
    timings_ms: dict[str, int] = field(default_factory=dict)
    background: BackgroundUsed | None = None

    def as_dict(self) -> dict[str, Any]:
        """For ``--json``."""
        return {
            "input": str(self.source),
            "output": str(self.output) if self.output else None,
            "comparison": str(self.comparison) if self.comparison else None,
            "status": self.status,
            "faces": [_face(face) for face in self.faces],
            "warnings": list(self.warnings),
            "error": {"code": self.error.code, "detail": self.error.detail} if self.error else None,
            "timings_ms": self.timings_ms,
            "background": self.background and asdict(self.background),
        }


def _face(face: FaceRecord) -> dict[str, Any]:
    return {
        "index": face.index,
        "box": [round(value, 2) for value in face.box],
        "landmarks": [[round(x, 2), round(y, 2)] for x, y in face.landmarks],
        "score": round(face.score, 4),
        "status": face.status,
        "reason": face.reason,
        "identity_similarity": face.identity_similarity and round(face.identity_similarity, 4),
    }


def plan(source: Path, output: Path | None) -> list[Work | Outcome]:
    """What to do for a photo or a folder; files that are no photos are skipped already.

    Raises click.UsageError where nothing sensible can be meant.
    """
    if source.is_dir():
        return _plan_folder(source, output)
    if not source.is_file():
        raise click.UsageError(f"{source} does not exist.")
    if output is None:
        return [Work(source, source.with_name(f"output_{source.name}"))]
    if output.is_dir():
        return [Work(source, output / f"output_{source.name}")]
    _require_format(output)
    if output.exists() and output.samefile(source):
        raise click.UsageError("The result would overwrite the photo: give another --output.")
    return [Work(source, output, exact=True)]


def _plan_folder(source: Path, output: Path | None) -> list[Work | Outcome]:
    folder = output or source.resolve().with_name(f"output_{source.resolve().name}")
    if folder.exists() and (not folder.is_dir() or folder.samefile(source)):
        raise click.UsageError(f"{folder}: the results of a folder need a folder of their own.")
    files = sorted(path for path in source.iterdir() if path.is_file())
    return [
        Work(path, folder / path.name)
        if path.suffix.lower() in PHOTO_SUFFIXES
        else Outcome(path, "skipped")
        for path in files
    ]


def _require_format(output: Path) -> None:
    if output.suffix.lower() not in _FORMATS:
        raise click.UsageError(f"{output}: the result can be .png, .jpg, .jpeg or .webp.")


def plan_sample(output: Path | None) -> list[Work | Outcome]:
    """Take the public-domain photo of the demo, spoiled; the result goes into this folder."""
    spoiled = io.BytesIO()
    spoil(free_photo()).save(spoiled, "png")
    source = Path("astronaut.png")
    work = Work(source, Path("output_astronaut.png"), data=spoiled.getvalue())
    if output is None:
        return [work]
    if output.is_dir():
        return [replace(work, target=output / work.target)]
    _require_format(output)
    return [replace(work, target=output, exact=True)]


class PhotoBatch:
    """Restores photos with one model and one set of options."""

    def __init__(
        self, restorer: Restorer, options: FaceOptions, limits: Limits, *, compare: bool
    ) -> None:
        self._restorer, self._options = restorer, options
        self._limits, self._compare = limits, compare

    def run(self, work: Sequence[Work | Outcome]) -> Iterator[Outcome]:
        """Outcomes in order; a photo that fails stops none of the others."""
        with ThreadPoolExecutor(min(_IN_FLIGHT, max(1, len(work)))) as pool:
            yield from pool.map(self._one, work)

    def _one(self, work: Work | Outcome) -> Outcome:
        if isinstance(work, Outcome):
            return work
        try:
            return self._restore(work)
        except FacemendError as error:
            return Outcome(work.source, "failed", error=error)

    def _restore(self, work: Work) -> Outcome:
        before = decode(self._read(work), self._limits)
        wanted = _FORMATS[work.target.suffix.lower()] if work.exact else "same"
        require_room(before, wanted, self._options.background_scale)
        done = self._restorer.restore(before, self._options)
        kind = output_format(before, wanted)
        target = work.target
        if target.suffix.lower() not in _KEPT_SUFFIXES[kind]:
            target = target.with_name(f"{target.name}.{kind}")  # a.bmp.png: a.png may be another
        _write(target, encode(done.photo, kind, _QUALITY))
        compared = None
        if self._compare:
            compared = target.with_name(f"{target.stem}_comparison.png")
            pair = Photo.of_pixels(comparison(before.pixels, done.photo.pixels))
            _write(compared, encode(pair, "png", _QUALITY))
        restored = done.background or any(face.status == "restored" for face in done.faces)
        return Outcome(
            source=work.source,
            status="restored" if restored else "unchanged",
            output=target,
            comparison=compared,
            faces=done.faces,
            warnings=done.warnings,
            timings_ms=done.timings_ms,
            background=done.background,
        )

    def _read(self, work: Work) -> bytes:
        if work.data is not None:
            return work.data
        try:
            size = work.source.stat().st_size
            if size > self._limits.max_bytes:
                raise InputTooLarge(f"{size} bytes; {self._limits.max_bytes} are allowed")
            return work.source.read_bytes()
        except OSError as error:
            raise InputNotFound(f"{work.source} cannot be read: {error.strerror}") from None


def _write(path: Path, data: bytes) -> None:
    """Whole or not at all."""
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        part.write_bytes(data)
        part.replace(path)
    except OSError as error:
        raise PublishFailed(f"{path} cannot be written: {error.strerror}") from None
    finally:
        with contextlib.suppress(OSError):
            part.unlink()  # there is one only if something went wrong
