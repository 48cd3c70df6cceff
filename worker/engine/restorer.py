"""The restorer: find faces, align, restore in shared batches, paste back."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator
from concurrent.futures import Future
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from numpy.typing import NDArray

from shared.errors import NoFaceFound, OutOfMemory
from worker.engine.backends import Backend
from worker.engine.background import Enlarger, no_enlarger
from worker.engine.batch_size import best_batch, measure_batches
from worker.engine.batching import Answer, Batcher, OnBatch
from worker.engine.choice import choose
from worker.engine.colouring import grey_of, to_be_coloured
from worker.engine.controls import Controls
from worker.engine.devices import is_out_of_memory
from worker.engine.faces import DetectedFace, FaceDetector
from worker.engine.geometry import (
    Affine,
    Floats,
    crop,
    face_mask,
    fit_square,
    inverse,
    similarity,
    template_points,
    transform,
)
from worker.engine.identity import TOO_LOW, Guard
from worker.engine.images import Photo, Pixels
from worker.engine.laps import Laps
from worker.engine.pasting import SMALL_FACE_PX, Paster, blend
from worker.engine.restoration import FaceOptions, FaceRecord, ModelInfo, Restoration

#: Told of stage, faces done and in all (of pixels while ``enlarging``); may raise to stop.
OnProgress = Callable[[str, int, int | None], None]
#: The reason of a face for which the network's answer was no number (half precision overflowed).
NOT_FINITE = "not-finite"


@dataclass(frozen=True, slots=True)
class _Aligned:
    """A face on its way: what the network sees, and how its answer goes back."""

    seen: Pixels
    before: Pixels
    affine: Affine
    landmarks: NDArray[np.float64]
    mask: Floats
    small: bool


class Restorer:
    """A loaded model. Safe to call from many threads: they share the batches of one device."""

    def __init__(
        self,
        network: Backend,
        detector: FaceDetector,
        info: ModelInfo,
        *,
        max_batch: int,
        max_batch_wait_ms: float,
        batch_limit: int | None = None,
        on_batch: OnBatch = lambda _waits_s: None,
        enlarger: Enlarger | None = None,
    ) -> None:
        self._network, self._detector, self._info = network, detector, info
        self._enlarger = enlarger or no_enlarger()
        self._batcher = Batcher(
            network.run,
            max_batch=max_batch,
            max_wait_ms=max_batch_wait_ms,
            is_out_of_memory=is_out_of_memory,
            on_batch=on_batch,
        )
        self._batch_limit = batch_limit or max_batch
        self._colours = info.task == "colorize"

    @property
    def info(self) -> ModelInfo:
        return self._info

    def restore(
        self,
        photo: Photo,
        options: FaceOptions,
        on_progress: OnProgress = lambda _stage, _done, _total: None,
    ) -> Restoration:
        """Restore the faces of one photo; the rest of it stays bit for bit, or is enlarged.

        Raises NoFaceFound and IdentityTooLow (only if ``options.strict``), OptionUnavailable for an
        option that needs what is not here, OutOfMemory when no face at all could be restored for
        want of it, ModelUnavailable once closed, and whatever ``on_progress`` raises. Asked to
        enlarge, what ``Enlarger.prepare`` raises, before anything else is done.
        """
        scale = options.background_scale
        background = self._enlarger.prepare(photo, scale)
        laps = Laps()
        least = options.min_identity
        guard = None if least is None else Guard(least, strict=options.strict)
        on_progress("detecting", 0, None)
        with laps.lap("detect"):
            found = self._find(photo, options)
        if not found and options.strict:
            raise NoFaceFound
        reasons = choose(found, options, *photo.pixels.shape[:2])
        chosen = [index for index, reason in enumerate(reasons) if reason is None]
        records = [
            _record(index, face, reason)
            for index, (face, reason) in enumerate(zip(found, reasons, strict=True))
        ]
        canvas = photo
        if background:
            with laps.lap("enlarge"):
                canvas = self._enlarger.enlarge(photo, scale, partial(on_progress, "enlarging"))
        if self._colours:
            canvas = to_be_coloured(canvas)
        paster = Paster(canvas, scale, only_colour=self._colours)
        on_progress("restoring", 0, len(chosen))
        faces = [found[index] for index in chosen]
        with closing(self._answers(photo, faces, options)) as answers:
            for done, index in enumerate(chosen, 1):
                with laps.lap("restore"):
                    aligned, answer = next(answers)
                with laps.lap("paste"):
                    records[index] = _finish(
                        records[index], paster, aligned, answer, options, guard=guard
                    )
                on_progress("restoring", done, len(chosen))
        on_progress("pasting", len(chosen), len(chosen))
        _require_some(records)
        return Restoration(
            photo=replace(canvas, pixels=paster.pixels),
            faces=tuple(records),
            timings_ms=laps.ms(),
            warnings=(*canvas.warnings, *_warnings(found, options)),
            background=background,
        )

    def warm_up(self) -> None:
        """Run everything once, so that the first customer does not wait.

        Measures which size of batch is the best, up to ``batch_limit``, and works with it from now
        on. Nothing else should run on the device meanwhile.
        """
        blank = np.zeros((512, 512, 3), np.uint8)
        self._detector.detect(blank, 0.9)
        face = np.zeros((self._network.in_px, self._network.in_px, 3), np.uint8)

        def run(size: int) -> None:
            self._batcher.max_batch = size
            for future in [self._batcher.submit(face) for _ in range(size)]:
                future.result()

        seconds_per_face = measure_batches(run, self._batch_limit)
        best = best_batch(seconds_per_face)
        self._batcher.max_batch = best
        ms_per_face = round(seconds_per_face[best] * 1000, 1)
        self._info = replace(self._info, ms_per_face=ms_per_face, batch=best)

    def close(self) -> None:
        """End the thread that owns the device; photos in the works get ModelUnavailable."""
        self._batcher.close()

    def _find(self, photo: Photo, options: FaceOptions) -> tuple[DetectedFace, ...]:
        if not options.aligned:
            return self._detector.detect(photo.pixels, options.detection_threshold)
        height, width = photo.pixels.shape[:2]
        size_px = self._network.in_px
        to_photo = inverse(fit_square(height, width, size_px))
        landmarks = transform(template_points(self._info.template, size_px), to_photo)
        return (DetectedFace((0.0, 0.0, float(width), float(height)), landmarks, 1.0),)

    def _answers(
        self, photo: Photo, faces: list[DetectedFace], options: FaceOptions
    ) -> Generator[tuple[_Aligned, Answer | OutOfMemory]]:
        """Each face aligned, and what the network made of it, in order; some are always ahead."""
        ahead: deque[tuple[_Aligned, Future[Answer]]] = deque()
        seed = options.seed if self._network.takes_seed else 0
        controls = Controls(options.noise_scale, options.truncation)
        try:
            for face in faces:
                aligned = self._align(photo, face, options)
                ahead.append((aligned, self._batcher.submit(aligned.seen, seed, controls)))
                # Enough that the device never waits, few enough that a crowd fits into memory.
                if len(ahead) >= 2 * self._batcher.max_batch:
                    yield _wait(*ahead.popleft())
            while ahead:
                yield _wait(*ahead.popleft())
        finally:  # whoever listens has raised: what has not begun need not begin
            for _, future in ahead:
                future.cancel()

    def _align(self, photo: Photo, face: DetectedFace, options: FaceOptions) -> _Aligned:
        height, width = photo.pixels.shape[:2]
        in_px, out_px = self._network.in_px, self._network.out_px

        def affine(size_px: int) -> Affine:
            if options.aligned:
                return fit_square(height, width, size_px)
            return similarity(face.landmarks, template_points(self._info.template, size_px))

        to_out = affine(out_px)
        seen = crop(photo.pixels, affine(in_px), in_px)
        landmarks = transform(face.landmarks, to_out)
        if options.aligned:
            mask = np.ones((out_px, out_px), np.float32)
        else:
            mask = face_mask(landmarks, out_px)
        return _Aligned(
            seen=grey_of(seen) if self._colours else seen,
            before=seen if in_px == out_px else crop(photo.pixels, to_out, out_px),
            affine=to_out,
            landmarks=landmarks,
            mask=mask,
            small=face.short_side_px < SMALL_FACE_PX,
        )


def _wait(aligned: _Aligned, future: Future[Answer]) -> tuple[_Aligned, Answer | OutOfMemory]:
    try:
        return aligned, future.result()
    except OutOfMemory as error:
        return aligned, error


def _finish(
    record: FaceRecord,
    paster: Paster,
    aligned: _Aligned,
    answer: Answer | OutOfMemory,
    options: FaceOptions,
    *,
    guard: Guard | None,
) -> FaceRecord:
    """Paste the answer; or say in the record why there is none."""
    if answer is None:
        return replace(record, status="failed", reason=NOT_FINITE)
    if isinstance(answer, OutOfMemory):
        return replace(record, status="failed", reason=answer.code)
    after = None
    if guard or options.crops:
        after = blend(aligned.before, answer, options.strength, only_colour=paster.only_colour)
    if guard and after is not None:
        alike, enough = guard.judge(aligned.before, after, aligned.landmarks)
        record = replace(record, identity_similarity=alike)
        if not enough:
            return replace(record, reason=TOO_LOW)
    paster.paste(
        aligned.before,
        answer,
        aligned.mask,
        aligned.affine,
        strength=options.strength,
        small=aligned.small,
    )
    record = replace(record, status="restored", reason=None)
    if not options.crops:
        return record
    return replace(record, crop_before=aligned.before, crop_after=after)


def _record(index: int, face: DetectedFace, reason: str | None) -> FaceRecord:
    landmarks = tuple((float(x), float(y)) for x, y in face.landmarks)
    return FaceRecord(index, face.box, landmarks, face.score, "skipped", reason)


def _require_some(records: list[FaceRecord]) -> None:
    """Raise OutOfMemory when that is why nothing at all was restored."""
    reasons = [record.reason for record in records]
    if OutOfMemory.code in reasons and None not in reasons:
        raise OutOfMemory


def _warnings(found: tuple[DetectedFace, ...], options: FaceOptions) -> list[str]:
    if not found:
        done = "unchanged" if options.background == "keep" else "enlarged, nothing else"
        return [f"No face was found: the picture is {done}."]
    if isinstance(options.faces, str):
        return []
    unknown = sorted(set(options.faces) - set(range(len(found))))
    numbers = ", ".join(map(str, unknown))
    return [f"There is no face {numbers}: {len(found)} were found, from 0."] if unknown else []
