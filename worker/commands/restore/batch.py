"""Restore the photos of a plan, some at a time, and write their results."""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from shared.atomic_file import replaced_atomically
from shared.errors import (
    FacemendError,
    ImageTooManyPixels,
    InputNotFound,
    InputTooLarge,
    PublishFailed,
)
from worker.commands.restore.plan import FORMATS, Plan, Skipped, Work
from worker.decoder import Decoder, photo_of
from worker.engine import BackgroundUsed, FaceOptions, FaceRecord
from worker.imaging.decode import Photo
from worker.imaging.encode import comparison, encode, encode_result, require_room

if TYPE_CHECKING:
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


class PhotoBatch:
    """Restores the photos of a plan with one model and one set of options."""

    def __init__(
        self,
        restorer: Restorer,
        decoder: Decoder,
        options: FaceOptions,
        *,
        max_bytes: int,
        compare: bool,
    ) -> None:
        self._restorer, self._decoder, self._options = restorer, decoder, options
        self._max_bytes, self._compare = max_bytes, compare

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
        data, state = self._read(work)
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
        warnings = [*done.warnings, *result.warnings]
        if plan.record is not None and state is not None:
            try:
                plan.record.add(work.name, state, written)
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

    def _decode(self, data: bytes) -> Photo:
        """Decode in a confined process. A cap of ours names the option that moves it."""
        try:
            with self._decoder.decode(data) as decoded:
                return photo_of(decoded)
        except (InputTooLarge, ImageTooManyPixels) as error:
            raise _with_option(error) from None

    def _read(self, work: Work) -> tuple[bytes, os.stat_result | None]:
        if work.data is not None:
            return work.data, None
        try:
            state = work.source.stat()
            if state.st_size > self._max_bytes:
                error = InputTooLarge(f"{state.st_size} bytes; {self._max_bytes} are allowed")
                raise _with_option(error)
            return work.source.read_bytes(), state
        except OSError as error:
            raise InputNotFound(f"{work.source} cannot be read: {error.strerror}") from None


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
