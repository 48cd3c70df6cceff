"""The request handler of the engine process: restores one photo and writes its result file."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, fields
from typing import Any, Protocol

import numpy as np

from shared.errors import ModelUnavailable, OutOfMemory
from shared.jobs.job import Kind
from shared.restore_options import FacesOfDetection
from worker.engine import Detection, FaceOptions, FaceRecord, FoundFace, ModelInfo, Restoration
from worker.engine.batching.batch_report import crops_of
from worker.engine.faces.detector import DetectedFace
from worker.engine.stage_timer import OnProgress, StageTimer
from worker.engine_process.protocol import RestoreRequest
from worker.engine_process.result_file import ResultFileWriter
from worker.imaging.decode import Photo
from worker.imaging.encode import comparison, encode, encode_result, require_room

_COMPARISON_QUALITY, _PREVIEW_QUALITY = 90, 85


class ImageRestorer(Protocol):
    """The part of the engine that a job needs; ``Restorer`` has it."""

    @property
    def info(self) -> ModelInfo: ...

    def restore(
        self,
        photo: Photo,
        options: FaceOptions,
        on_progress: OnProgress = ...,
        faces_found: Sequence[DetectedFace] | None = ...,
    ) -> Restoration: ...

    def detect(self, photo: Photo, on_progress: OnProgress = ...) -> Detection: ...


#: Receives each restoration once its result file is complete. Returns at once, raises nothing.
OnRestored = Callable[[RestoreRequest, Photo, Restoration, ModelInfo], None]


def _ignore(*_: object) -> None:
    """Nobody wants to know."""


class RequestHandler:
    """Handles restore requests with the loaded models. Thread-safe, as the restorers are."""

    def __init__(
        self, restorers: Mapping[str, ImageRestorer], on_restored: OnRestored = _ignore
    ) -> None:
        self._restorers, self._on_restored = restorers, on_restored
        self._lock, self._in_flight = threading.Lock(), 0

    def is_busy(self) -> bool:
        """Whether a job runs now."""
        return self._in_flight > 0

    @property
    def models(self) -> list[dict[str, Any]]:
        """The loaded models, ``ModelInfo`` as JSON objects."""
        return [asdict(restorer.info) for restorer in self._restorers.values()]

    def handle(self, request: RestoreRequest, photo: Photo, on_progress: OnProgress) -> int:
        """Restore one photo, or find its faces.

        Returns the descriptor of the result file, which the caller closes.

        Raises ModelUnavailable; ImageTooManyPixels, before the engine begins; what the engine
        raises; OutOfMemory; and what ``on_progress`` raises.
        """
        restorer = self._restorer(request.model)
        handle = self._detect if request.kind == Kind.DETECTION else self._restore
        try:
            with self._job(), crops_of(request.job_id):
                return handle(restorer, request, photo, on_progress)
        except MemoryError as error:
            raise OutOfMemory("this machine has too little memory for this photo") from error

    @contextmanager
    def _job(self) -> Iterator[None]:
        with self._lock:
            self._in_flight += 1
        try:
            yield
        finally:
            with self._lock:
                self._in_flight -= 1

    def _restore(
        self,
        restorer: ImageRestorer,
        request: RestoreRequest,
        photo: Photo,
        on_progress: OnProgress,
    ) -> int:
        options = face_options(request)
        require_room(photo, request.output["format"], options.background_scale)
        if request.faces_found is None:
            restoration = restorer.restore(photo, options, on_progress)
        else:
            faces = [_detected(face) for face in request.faces_found]
            restoration = restorer.restore(photo, options, on_progress, faces)
        restored = sum(face.status == "restored" for face in restoration.faces)
        on_progress("publishing", restored, len(restoration.faces))
        result = _write_result(request, photo, restoration, restorer.info)
        self._on_restored(request, photo, restoration, restorer.info)
        return result

    def _detect(
        self,
        restorer: ImageRestorer,
        request: RestoreRequest,  # a detection has no options
        photo: Photo,
        on_progress: OnProgress,
    ) -> int:
        detection = restorer.detect(photo, on_progress)
        on_progress("publishing", len(detection.faces), len(detection.faces))
        return _result_file(
            lambda writer: _write_detection(writer, photo, detection, restorer.info)
        )

    def _restorer(self, model: str) -> ImageRestorer:
        try:
            return self._restorers[model]
        except KeyError:
            raise ModelUnavailable(
                f"model {model} is not loaded by this worker ({', '.join(self._restorers)})"
            ) from None


def face_options(request: RestoreRequest) -> FaceOptions:
    """Return the options of the request. Unknown ones, of another API version, are ignored."""
    known = {field.name for field in fields(FaceOptions)}
    given: dict[str, Any] = {
        name: _option(value) for name, value in request.options.items() if name in known
    }
    return FaceOptions(**given, crops=request.output["face_crops"])


def _option(value: Any) -> Any:
    """Return an option of the request as the engine has it."""
    if isinstance(value, dict):
        return FacesOfDetection.model_validate(value)
    return tuple(value) if isinstance(value, list) else value


def _detected(face: Mapping[str, Any]) -> DetectedFace:
    left, top, right, bottom = face["box"]
    landmarks = np.asarray(face["landmarks"], np.float64)
    return DetectedFace((left, top, right, bottom), landmarks, face["score"])


def _write_result(
    request: RestoreRequest, before: Photo, restoration: Restoration, info: ModelInfo
) -> int:
    return _result_file(lambda writer: _write(writer, request, before, restoration, info))


def _result_file(write: Callable[[ResultFileWriter], None]) -> int:
    """Return the descriptor of the result file. Raises OutOfMemory if there is no room for it."""
    writer = ResultFileWriter()
    try:
        write(writer)
    except BaseException as error:
        os.close(writer.fd)
        if isinstance(error, OSError):
            raise OutOfMemory("this machine has no room for the result") from error
        raise
    return writer.fd


def _write(
    writer: ResultFileWriter,
    request: RestoreRequest,
    before: Photo,
    restoration: Restoration,
    info: ModelInfo,
) -> None:
    timer = StageTimer()
    timer.add_ms(restoration.timings_ms)
    output, after = request.output, restoration.photo
    with timer.stage("publish"):
        if output["comparison"]:
            pair = Photo.of_pixels(comparison(before.pixels, after.pixels))
            _add(writer, "comparison", pair, "jpeg", _COMPARISON_QUALITY)
        result = encode_result(before, after, output["format"], output["quality"])
        height, width = after.pixels.shape[:2]
        writer.add("restored", result.data, result.format, width, height)
        faces = [_face(writer, face, with_crops=output["face_crops"]) for face in restoration.faces]
    writer.close(
        {
            "faces": faces,
            "model": {
                "name": info.name,
                "sha256": info.sha256,
                "precision": info.precision,
                "backend": info.backend,
            },
            "background": restoration.background and asdict(restoration.background),
            "warnings": [*restoration.warnings, *result.warnings],
            "timings_ms": timer.timings_ms(),
        }
    )


def _write_detection(
    writer: ResultFileWriter, photo: Photo, detection: Detection, info: ModelInfo
) -> None:
    timer = StageTimer()
    timer.add_ms(detection.timings_ms)
    height, width = photo.pixels.shape[:2]
    with timer.stage("publish"):
        faces = [_found_face(writer, face) for face in detection.faces]
    writer.close(
        {
            "photo": {"width": width, "height": height},
            "faces": faces,
            "detector": info.detector,
            "warnings": list(detection.warnings),
            "timings_ms": timer.timings_ms(),
        }
    )


def _found_face(writer: ResultFileWriter, face: FoundFace) -> dict[str, Any]:
    """Return the face for the record; ``preview`` is the name of a picture."""
    name = f"face-{face.index}"
    _add(writer, name, Photo.of_pixels(face.preview), "jpeg", _PREVIEW_QUALITY)
    left, top, right, bottom = face.box
    return {
        **_place(face),
        "sharpness": round(face.sharpness, 4),
        "sharp": face.sharp,
        "size": round(min(right - left, bottom - top), 2),
        "preview": name,
    }


def _place(face: FaceRecord | FoundFace) -> dict[str, Any]:
    """Return where the face is, rounded for the record."""
    return {
        "index": face.index,
        "box": [round(float(value), 2) for value in face.box],
        "landmarks": [[round(float(x), 2), round(float(y), 2)] for x, y in face.landmarks],
        "score": round(float(face.score), 4),
    }


def _add(writer: ResultFileWriter, name: str, photo: Photo, kind: Any, quality: int) -> None:
    height, width = photo.pixels.shape[:2]
    writer.add(name, encode(photo, kind, quality), kind, width, height)


def _face(writer: ResultFileWriter, face: FaceRecord, *, with_crops: bool) -> dict[str, Any]:
    crop = None
    if with_crops and face.crop_before is not None and face.crop_after is not None:
        crop = {}
        for when, pixels in {"before": face.crop_before, "after": face.crop_after}.items():
            crop[when] = f"face-{face.index}-{when}"
            _add(writer, crop[when], Photo.of_pixels(pixels), "png", 95)
    return {
        **_place(face),
        "status": face.status,
        "reason": face.reason,
        "identity_similarity": _rounded(face.identity_similarity),
        "crop": crop,
    }


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)
