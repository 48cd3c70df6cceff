"""The engine child's work on one photo: restore, encode, and pack what came of it."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, fields
from typing import Any, Protocol

from shared.errors import ModelUnavailable, OutOfMemory
from worker.engine import FaceOptions, FaceRecord, ModelInfo, Restoration
from worker.engine_process.request import Order
from worker.engine_process.result import Writer
from worker.imaging.decode import Photo
from worker.imaging.encode import comparison, encode, output_format, require_room

#: Told of stage, faces done and in all (of pixels while ``enlarging``); may raise to stop.
OnProgress = Callable[[str, int, int | None], None]
_COMPARISON_QUALITY = 90


class ImageRestorer(Protocol):
    """What a job needs of the engine."""

    @property
    def info(self) -> ModelInfo: ...

    def restore(
        self, photo: Photo, options: FaceOptions, on_progress: OnProgress = ...
    ) -> Restoration: ...


class Workbench:
    """Thread-safe, as the restorers are."""

    def __init__(self, restorers: Mapping[str, ImageRestorer]) -> None:
        self._restorers = restorers

    @property
    def models(self) -> list[dict[str, Any]]:
        """What is loaded: ``ModelInfo`` as JSON objects."""
        return [asdict(restorer.info) for restorer in self._restorers.values()]

    def carry_out(self, order: Order, photo: Photo, on_progress: OnProgress) -> int:
        """Do what is ordered; the memory file of ``Finished``, the caller's to close.

        Raises ModelUnavailable, ImageTooManyPixels before the engine begins, what the engine
        raises, OutOfMemory, and whatever ``on_progress`` raises.
        """
        restorer = self._restorer(order.model)
        options = face_options(order)
        require_room(photo, order.output["format"], options.background_scale)
        try:
            restoration = restorer.restore(photo, options, on_progress)
            restored = sum(face.status == "restored" for face in restoration.faces)
            on_progress("publishing", restored, len(restoration.faces))
            return _pack(order, photo, restoration, restorer.info)
        except MemoryError as error:
            raise OutOfMemory("this machine has too little memory for this photo") from error

    def _restorer(self, model: str) -> ImageRestorer:
        try:
            return self._restorers[model]
        except KeyError:
            raise ModelUnavailable(
                f"model {model} is not loaded by this worker ({', '.join(self._restorers)})"
            ) from None


def face_options(order: Order) -> FaceOptions:
    """As the request says; what an API of another version does not know of keeps its default."""
    known = {field.name for field in fields(FaceOptions)}
    given: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value
        for name, value in order.options.items()
        if name in known
    }
    return FaceOptions(**given, crops=order.output["face_crops"])


def _pack(order: Order, before: Photo, restoration: Restoration, info: ModelInfo) -> int:
    """Raises OutOfMemory where the memory file has no room."""
    writer = Writer()
    try:
        _write(writer, order, before, restoration, info)
    except BaseException as error:
        os.close(writer.fd)
        if isinstance(error, OSError):
            raise OutOfMemory("this machine has no room for the result") from error
        raise
    return writer.fd


def _write(
    writer: Writer, order: Order, before: Photo, restoration: Restoration, info: ModelInfo
) -> None:
    start_s = time.monotonic()
    output, after = order.output, restoration.photo
    if output["comparison"]:
        pair = Photo.of_pixels(comparison(before.pixels, after.pixels))
        _add(writer, "comparison", pair, "jpeg", _COMPARISON_QUALITY)
    kind = output_format(before, output["format"])
    _add(writer, "restored", after, kind, output["quality"])
    faces = [_face(writer, face, with_crops=output["face_crops"]) for face in restoration.faces]
    encode_ms = round((time.monotonic() - start_s) * 1000)
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
            "warnings": list(restoration.warnings),
            "timings_ms": {**restoration.timings_ms, "publish": encode_ms},
        }
    )


def _add(writer: Writer, name: str, photo: Photo, kind: Any, quality: int) -> None:
    height, width = photo.pixels.shape[:2]
    writer.add(name, encode(photo, kind, quality), kind, width, height)


def _face(writer: Writer, face: FaceRecord, *, with_crops: bool) -> dict[str, Any]:
    crop = None
    if with_crops and face.crop_before is not None and face.crop_after is not None:
        crop = {}
        for when, pixels in {"before": face.crop_before, "after": face.crop_after}.items():
            crop[when] = f"face-{face.index}-{when}"
            _add(writer, crop[when], Photo.of_pixels(pixels), "png", 95)
    return {
        "index": face.index,
        "box": [round(float(value), 2) for value in face.box],
        "landmarks": [[round(float(x), 2), round(float(y), 2)] for x, y in face.landmarks],
        "score": round(float(face.score), 4),
        "status": face.status,
        "reason": face.reason,
        "identity_similarity": _rounded(face.identity_similarity),
        "crop": crop,
    }


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)
