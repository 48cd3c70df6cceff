"""The restorer: find faces, align, restore in shared batches, paste back."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator
from concurrent.futures import Future
from contextlib import closing
from dataclasses import replace
from functools import partial

import numpy as np

from shared.errors import NoFaceFound, OutOfMemory
from worker.engine.backends import Backend
from worker.engine.background import Enlarger, no_enlarger
from worker.engine.batching.batch_size import best_batch, measure_batches
from worker.engine.batching.batcher import Answer, Batcher, OnBatch
from worker.engine.controls import Controls
from worker.engine.devices import is_out_of_memory
from worker.engine.faces.alignment import Aligned, Aligner
from worker.engine.faces.detector import DetectedFace, FaceDetector
from worker.engine.faces.finishing import Finisher, open_record, require_some, warnings
from worker.engine.faces.identity import Guard
from worker.engine.faces.parsing import FaceParser
from worker.engine.faces.pasting import Paster
from worker.engine.faces.selection import LEAST_SCORE, choose, in_order, is_sure
from worker.engine.restoration import FaceOptions, ModelInfo, Restoration
from worker.engine.stage_timer import Laps
from worker.imaging.colorization import to_be_coloured
from worker.imaging.decode import Photo

#: Told of stage, faces done and in all (of pixels while ``enlarging``); may raise to stop.
OnProgress = Callable[[str, int, int | None], None]


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
        parser: FaceParser | None = None,
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
        self._aligner = Aligner(info.template, network.in_px, network.out_px, colours=self._colours)
        self._parser = parser

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
        if options.strict and not any(is_sure(face, options) for face in found):
            raise NoFaceFound
        chosen_or_why = choose(found, options, *photo.pixels.shape[:2])
        chosen = [index for index, reason in enumerate(chosen_or_why) if reason is None]
        records = [
            open_record(index, face, reason)
            for index, (face, reason) in enumerate(zip(found, chosen_or_why, strict=True))
        ]
        canvas = photo
        if background:
            with laps.lap("enlarge"):
                canvas = self._enlarger.enlarge(photo, scale, partial(on_progress, "enlarging"))
        if self._colours:
            canvas = to_be_coloured(canvas)
        paster = Paster(canvas, scale, only_colour=self._colours)
        finisher = Finisher(paster, options, guard, self._parser)
        on_progress("restoring", 0, len(chosen))
        faces = [found[index] for index in chosen]
        with closing(self._answers(photo, faces, options)) as answers:
            for done, index in enumerate(chosen, 1):
                with laps.lap("restore"):
                    aligned, answer = next(answers)
                with laps.lap("paste"):
                    records[index] = finisher.finish(records[index], aligned, answer)
                on_progress("restoring", done, len(chosen))
        on_progress("pasting", len(chosen), len(chosen))
        require_some(records)
        return Restoration(
            photo=paster.photo,
            faces=tuple(records),
            timings_ms=laps.ms(),
            warnings=(*canvas.warnings, *warnings(found, records, options)),
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
        if options.aligned:
            return (self._aligner.whole(photo),)
        threshold = options.detection_threshold
        return in_order(self._detector.detect(photo.pixels, threshold, LEAST_SCORE), threshold)

    def _answers(
        self, photo: Photo, faces: list[DetectedFace], options: FaceOptions
    ) -> Generator[tuple[Aligned, Answer | OutOfMemory]]:
        """Each face aligned, and what the network made of it, in order; some are always ahead.

        None where it made nothing of it, or was not asked.
        """
        ahead: deque[tuple[Aligned, Future[Answer] | None]] = deque()
        seed = options.seed if self._network.takes_seed else 0
        controls = Controls(options.noise_scale, options.truncation)
        try:
            for face in faces:
                aligned = self._aligner.align(photo, face, options)
                future = None
                if not aligned.sharp:
                    future = self._batcher.submit(aligned.seen, seed, controls)
                ahead.append((aligned, future))
                # Enough that the device never waits, few enough that a crowd fits into memory.
                if len(ahead) >= 2 * self._batcher.max_batch:
                    yield _wait(*ahead.popleft())
            while ahead:
                yield _wait(*ahead.popleft())
        finally:  # whoever listens has raised: what has not begun need not begin
            for _, future in ahead:
                if future:
                    future.cancel()


def _wait(aligned: Aligned, future: Future[Answer] | None) -> tuple[Aligned, Answer | OutOfMemory]:
    try:
        return aligned, future.result() if future else None
    except OutOfMemory as error:
        return aligned, error
