"""Restore the photos of a plan, some at a time, and write their results."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from facemend.folder.record import Version
from facemend.folder.result_names import fitting
from shared.atomic_file import replaced_atomically
from shared.errors import (
    FacemendError,
    ImageTooManyPixels,
    InputNotFound,
    InputTooLarge,
    PublishFailed,
)
from shared.program_version import program_version
from worker.commands.restore.plan import FORMATS, Plan, Skipped, Work
from worker.decoder import Decoder, photo_of
from worker.engine import BackgroundUsed, FaceOptions, FaceRecord, Restoration
from worker.imaging.decode import Photo
from worker.imaging.encode import Encoded, comparison, encode, encode_result, require_room

if TYPE_CHECKING:
    from shared.provenance.signing_keys import SigningKey
    from worker.engine import Restorer

_QUALITY = 95
_IN_FLIGHT = 4  # while the faces of one photo are on the device, others are read and written
#: A cap of ours → the option that moves it.
_MOVED_BY: dict[type[FacemendError], str] = {
    InputTooLarge: "--max-bytes",
    ImageTooManyPixels: "--max-pixels",
}


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one photo.

    ``unchanged``: it was written, but nothing was restored. ``reason`` says why it was skipped.
    """

    source: Path
    status: Literal["restored", "unchanged", "failed", "skipped"]
    output: Path | None = None
    comparison: Path | None = None
    faces: tuple[FaceRecord, ...] = ()
    warnings: tuple[str, ...] = ()
    reason: str | None = None
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
            "reason": self.reason,
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


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchOptions:
    """How the photos of a plan are restored. ``compare``: also write before and after.

    ``signing_key``: also write a manifest of each result, signed with it.
    """

    options: FaceOptions
    max_bytes: int
    compare: bool = False
    signing_key: SigningKey | None = None


class PhotoBatch:
    """Restores the photos of a plan with one model and one set of options."""

    def __init__(self, restorer: Restorer, decoder: Decoder, chosen: BatchOptions) -> None:
        self._restorer, self._decoder, self._options = restorer, decoder, chosen.options
        self._max_bytes, self._compare = chosen.max_bytes, chosen.compare
        self._signing_key = chosen.signing_key

    def run(self, plan: Plan) -> Iterator[Outcome]:
        """Yield outcomes in the order of the plan; a photo that fails stops none of the others."""
        with ThreadPoolExecutor(min(_IN_FLIGHT, max(1, len(plan.steps)))) as pool:
            yield from pool.map(partial(self.one, plan), plan.steps)

    def one(self, plan: Plan, step: Work | Skipped) -> Outcome:
        """Restore one photo; ``plan`` has the names and the record of its folder."""
        if isinstance(step, Skipped):
            return skipped(step)
        try:
            return self._restore(plan, step)
        except FacemendError as error:
            return Outcome(step.source, "failed", error=error)

    def _restore(self, plan: Plan, work: Work) -> Outcome:
        started_at = time.time()
        data, version = self._read(plan, work)
        before = self._decode(data)
        wanted = FORMATS[work.target.suffix.lower()] if work.exact else "same"
        require_room(before, wanted, self._options.background_scale)
        done = self._restorer.restore(before, self._options)
        result = encode_result(before, done.photo, wanted, _QUALITY)
        target = plan.names.of_format(work.target, result.format)
        _write(target, result.data)
        written = [target]
        if self._compare:
            pair = Photo.of_pixels(comparison(before.pixels, done.photo.pixels))
            _write(work.compared, encode(pair, "png", _QUALITY))
            written.append(work.compared)
        if self._signing_key is not None:
            written.append(self._write_manifest(target, data, result, done, started_at))
        warnings = [*done.warnings, *result.warnings]
        if plan.record is not None and version is not None:
            try:
                plan.record.add(work.name, version, written)
            except OSError as error:
                warnings.append(f"a later --resume will do this photo again: {error.strerror}")
        restored = done.background or any(face.status == "restored" for face in done.faces)
        return Outcome(
            source=work.source,
            status="restored" if restored else "unchanged",
            output=target,
            comparison=work.compared if self._compare else None,
            faces=done.faces,
            warnings=tuple(warnings),
            timings_ms=done.timings_ms,
            background=done.background,
        )

    def _write_manifest(
        self, target: Path, photo: bytes, result: Encoded, done: Restoration, started_at: float
    ) -> Path:
        from shared.provenance.statement import Making, write_manifest

        assert self._signing_key is not None  # noqa: S101  # the caller has looked
        info = self._restorer.info
        height, width = done.photo.pixels.shape[:2]
        making = Making(
            input_bytes=len(photo),
            input_sha256=hashlib.sha256(photo).hexdigest(),
            options=_as_json(self._options),
            result={
                "image": {
                    "sha256": hashlib.sha256(result.data).hexdigest(),
                    "bytes": len(result.data),
                    "format": result.format,
                    "width": width,
                    "height": height,
                },
                "faces": [_face(face) for face in done.faces],
                "model": {
                    "name": info.name,
                    "sha256": info.sha256,
                    "precision": info.precision,
                    "backend": info.backend,
                },
                "background": done.background and asdict(done.background),
            },
            started_at=started_at,
            finished_at=time.time(),
        )
        path = fitting(target.with_name(f"{target.name}.manifest.json"))
        _write(path, write_manifest(making, self._signing_key, program_version()))
        return path

    def _decode(self, data: bytes) -> Photo:
        """Decode in a confined process. A cap of ours names the option that moves it."""
        try:
            with self._decoder.decode(data) as decoded:
                return photo_of(decoded)
        except (InputTooLarge, ImageTooManyPixels) as error:
            raise _with_option(error) from None

    def _read(self, plan: Plan, work: Work) -> tuple[bytes, Version | None]:
        if work.data is not None:
            return work.data, None
        try:
            version = plan.record.version_of(work.source) if plan.record else None
            size = work.source.stat().st_size
            if size > self._max_bytes:
                error = InputTooLarge(f"{size} bytes; {self._max_bytes} are allowed")
                raise _with_option(error)
            return work.source.read_bytes(), version
        except OSError as error:
            raise InputNotFound(f"{work.source} cannot be read: {error.strerror}") from None


def _as_json(options: FaceOptions) -> dict[str, Any]:
    """Return the options as a request has them."""
    return {name: value for name, value in asdict(options).items() if name != "crops"}


def skipped(step: Skipped) -> Outcome:
    """The outcome of a file that is not restored."""
    return Outcome(step.source, "skipped", step.output, reason=step.reason)


def _with_option(error: FacemendError) -> FacemendError:
    option = _MOVED_BY[type(error)]
    return type(error)(f"{error.detail}; {option} accepts more")


def _write(path: Path, data: bytes) -> None:
    """Write the whole file or none."""
    try:
        with replaced_atomically(path) as unfinished:
            unfinished.write_bytes(data)
    except OSError as error:
        raise PublishFailed(f"{path} cannot be written: {error.strerror}") from None
