"""The restorer: detects faces, aligns them, restores them in shared batches, pastes them back."""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Sequence
from concurrent.futures import Future
from contextlib import closing
from dataclasses import replace
from functools import partial

import numpy as np

from shared.errors import NoFaceFound, OptionUnavailable, OutOfMemory
from worker.engine.backends.backend import Backend
from worker.engine.background import PhotoEnlarger, no_enlarger
from worker.engine.batching.batch_size import best_batch, measure_batches
from worker.engine.batching.batcher import Batcher, OnBatch, RestoredCrop
from worker.engine.devices import is_out_of_memory
from worker.engine.faces.alignment import AlignedFace, Aligner
from worker.engine.faces.detector import DetectedFace, FaceDetector
from worker.engine.faces.face_selection import (
    MIN_REPORTED_SCORE,
    accepted_faces,
    order_faces,
    select_faces,
)
from worker.engine.faces.identity import IdentityCheck
from worker.engine.faces.parsing import FaceParser
from worker.engine.faces.pasting import Paster
from worker.engine.faces.postprocessing import (
    FacePostprocessor,
    initial_record,
    require_one_restored,
)
from worker.engine.faces.preview import preview
from worker.engine.faces.result_warnings import result_warnings
from worker.engine.gpen.controls import DEFAULT_CONTROLS, GeneratorControls
from worker.engine.options import FaceOptions
from worker.engine.results import Detection, FoundFace, ModelInfo, Restoration
from worker.engine.stage_timer import OnProgress, StageTimer
from worker.imaging.colorization import to_be_coloured
from worker.imaging.decode import Photo

#: A detection lists at most so many faces: more would not fit into a message to this process.
MAX_FOUND = 200


class Restorer:
    """A loaded model. It is thread-safe: all threads share the batches of one device."""

    def __init__(
        self,
        network: Backend,
        detector: FaceDetector,
        info: ModelInfo,
        *,
        max_batch: int,
        max_batch_wait_ms: float,
        batch_limit: int | None = None,
        on_batch: OnBatch = lambda _report: None,
        enlarger: PhotoEnlarger | None = None,
        parser: FaceParser | None = None,
    ) -> None:
        """``max_batch`` is the batch size until `warm_up` measures one, up to ``batch_limit``."""
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
        """The loaded model and how it runs."""
        return self._info

    def restore(
        self,
        photo: Photo,
        options: FaceOptions,
        on_progress: OnProgress = lambda _stage, _done, _total: None,
        faces_found: Sequence[DetectedFace] | None = None,
    ) -> Restoration:
        """Restore the faces of one photo; every other pixel stays as it is, or is enlarged.

        ``faces_found`` are the faces that `detect` found in this photo: none are searched again.
        Raises NoFaceFound and IdentityTooLow (only if ``options.strict``), OptionUnavailable if an
        option needs a package that is not installed or a control that the network does not have,
        OutOfMemory if no face at all could be restored for lack of memory, ModelUnavailable after
        `close`, whatever ``on_progress`` raises, and, before any other work, what
        `PhotoEnlarger.prepare` raises.
        """
        self._require_controls(options)
        scale = options.background_scale
        background = self._enlarger.prepare(photo, scale)
        timer = StageTimer("detect", "restore", "paste")
        identity_check = None
        if options.min_identity is not None:
            identity_check = IdentityCheck(options.min_identity, strict=options.strict)
        on_progress("detecting", 0, None)
        with timer.stage("detect"):
            found = self._detect(photo, options) if faces_found is None else (*faces_found,)
        if options.strict and not accepted_faces(found, options):
            raise NoFaceFound
        reasons = select_faces(found, options, *photo.pixels.shape[:2])
        selected = [index for index, reason in enumerate(reasons) if reason is None]
        records = [
            initial_record(index, face, reason)
            for index, (face, reason) in enumerate(zip(found, reasons, strict=True))
        ]
        canvas = photo
        if background:
            with timer.stage("enlarge"):
                canvas = self._enlarger.enlarge(photo, scale, partial(on_progress, "enlarging"))
        if self._colours:
            canvas = to_be_coloured(canvas)
        paster = Paster(canvas, scale, only_colour=self._colours)
        postprocessor = FacePostprocessor(paster, options, identity_check, self._parser)
        on_progress("restoring", 0, len(selected))
        faces = [found[index] for index in selected]
        with closing(self._outputs(photo, faces, options)) as outputs:
            for done, index in enumerate(selected, 1):
                with timer.stage("restore"):
                    aligned, output = next(outputs)
                with timer.stage("paste"):
                    records[index] = postprocessor.finish(records[index], aligned, output)
                on_progress("restoring", done, len(selected))
        on_progress("pasting", len(selected), len(selected))
        require_one_restored(records)
        return Restoration(
            photo=paster.photo,
            faces=tuple(records),
            timings_ms=timer.timings_ms(),
            warnings=(*canvas.warnings, *result_warnings(found, records, options)),
            background=background,
        )

    def _require_controls(self, options: FaceOptions) -> None:
        asked = GeneratorControls(options.noise_scale, options.truncation)
        if asked != DEFAULT_CONTROLS and not self._network.has_controls:
            raise OptionUnavailable(
                f"{self._info.name} has no controls: noise_scale and truncation can only be 1"
            )

    def detect(
        self, photo: Photo, on_progress: OnProgress = lambda _stage, _done, _total: None
    ) -> Detection:
        """Find the faces of one photo, and restore none. No more than ``MAX_FOUND``.

        Raises what ``on_progress`` raises.
        """
        timer = StageTimer("detect")
        on_progress("detecting", 0, None)
        with timer.stage("detect"):
            found = self._detect(photo, FaceOptions())
            faces = [
                self._found(index, photo, face) for index, face in enumerate(found[:MAX_FOUND])
            ]
        warnings = list(photo.warnings)
        if len(found) > MAX_FOUND:
            warnings.append(f"{len(found)} faces were found; the first {MAX_FOUND} are listed.")
        on_progress("detecting", len(faces), len(faces))
        return Detection(tuple(faces), timer.timings_ms(), tuple(warnings))

    def _found(self, index: int, photo: Photo, face: DetectedFace) -> FoundFace:
        measured, sharp = self._aligner.sharpness(photo, face)
        return FoundFace(
            index=index,
            box=face.box,
            landmarks=tuple((float(x), float(y)) for x, y in face.landmarks),
            score=face.score,
            sharpness=measured.fine_share,
            sharp=sharp,
            preview=preview(photo.pixels, face),
        )

    def warm_up(self) -> None:
        """Run everything once, measure the best batch size up to the limit, and use it.

        So the first customer does not wait. Nothing else should run on the device meanwhile.
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
        """End the thread that owns the device; photos in progress raise ModelUnavailable."""
        self._batcher.close()

    def _detect(self, photo: Photo, options: FaceOptions) -> tuple[DetectedFace, ...]:
        if options.aligned:
            return (self._aligner.whole_photo(photo),)
        threshold = options.detection_threshold
        found = self._detector.detect(photo.pixels, threshold, MIN_REPORTED_SCORE)
        return order_faces(found, threshold)

    def _outputs(
        self, photo: Photo, faces: list[DetectedFace], options: FaceOptions
    ) -> Generator[tuple[AlignedFace, RestoredCrop | OutOfMemory]]:
        """Yield each aligned face with the network's output; some faces are always in advance.

        The output is None if it is not finite, or if the face is already sharp.
        """
        pending: deque[tuple[AlignedFace, Future[RestoredCrop] | None]] = deque()
        seed = options.seed if self._network.uses_seed else 0
        controls = GeneratorControls(options.noise_scale, options.truncation)
        try:
            for face in faces:
                aligned = self._aligner.align(photo, face, options)
                future = None
                if not aligned.sharp:
                    future = self._batcher.submit(aligned.network_input, seed, controls)
                pending.append((aligned, future))
                # Enough faces that the device never waits, few enough that a crowd fits in memory.
                if len(pending) >= 2 * self._batcher.max_batch:
                    yield _wait(*pending.popleft())
            while pending:
                yield _wait(*pending.popleft())
        finally:  # the caller may have raised: cancel what has not started
            for _, future in pending:
                if future:
                    future.cancel()


def _wait(
    aligned: AlignedFace, future: Future[RestoredCrop] | None
) -> tuple[AlignedFace, RestoredCrop | OutOfMemory]:
    try:
        return aligned, future.result() if future else None
    except OutOfMemory as error:
        return aligned, error
