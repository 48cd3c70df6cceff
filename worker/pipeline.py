"""One job from fetched bytes to published result, as a straight line.

Knows neither Celery nor torch: the engine is anything that restores a photo, the lease anything
that can be told of progress. Nothing is caught here; ``worker.tasks`` decides what an error means.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

from shared.errors import PublishFailed, Unavailable
from shared.fetch import Fetcher
from shared.jobs import Job, Progress, Stage, Status
from shared.storage import ObjectStorage, file_key, result_key
from shared.store import Outcome
from worker.engine import (
    FaceOptions,
    FaceRecord,
    Limits,
    ModelInfo,
    Photo,
    Restoration,
    comparison,
    decode,
    encode,
    output_format,
)

_CONTENT_TYPES = {"png": "image/png", "jpeg": "image/jpeg", "webp": "image/webp"}
_CROP_FORMAT, _COMPARISON_FORMAT = "png", "jpeg"

#: Told of each step; raises to stop the job (lease lost, cancelled, draining).
Report = Callable[[Progress], None]


class ImageRestorer(Protocol):
    """What a job needs of the engine."""

    @property
    def info(self) -> ModelInfo: ...

    def restore(
        self,
        photo: Photo,
        options: FaceOptions,
        on_progress: Callable[[str, int, int | None], None] = ...,
    ) -> Restoration: ...


@dataclass(frozen=True, slots=True)
class Pipeline:
    """Restores jobs; safe to call from many threads at once."""

    storage: ObjectStorage
    fetcher: Fetcher
    limits: Limits
    fetch_timeout_s: float

    def run(self, job: Job, token: str, restorer: ImageRestorer, report: Report) -> Outcome:
        """Fetch, decode, restore, publish.

        Raises InputError for the photo, EngineError for the model, PublishFailed for the result,
        and whatever ``report`` raises.
        """
        watch = _Stopwatch(job)
        with watch.stage("fetch"):
            report(Progress(Stage.FETCHING))
            photo = decode(self._read(job), self.limits)

        def on_progress(stage: str, faces_done: int, faces_total: int | None) -> None:
            report(Progress(Stage(stage), faces_done, faces_total))

        restoration = restorer.restore(photo, _face_options(job.request["options"]), on_progress)
        watch.add(restoration.timings_ms)
        faces_done = sum(face.status == "restored" for face in restoration.faces)
        report(Progress(Stage.PUBLISHING, faces_done, len(restoration.faces)))
        with watch.stage("publish"):
            result = self._publish(job, token, photo, restoration, restorer.info, report)
        return Outcome(
            status=Status.SUCCEEDED,
            result=result,
            error=None,
            warnings=_warnings(photo, restoration),
            timings_ms=watch.timings_ms(),
        )

    def _read(self, job: Job) -> bytes:
        source, max_bytes = job.source, self.limits.max_bytes
        if "url" in source:
            return self.fetcher.get(
                source["url"], max_bytes=max_bytes, timeout_s=self.fetch_timeout_s
            )
        return self.storage.get(source["key"], max_bytes=max_bytes, etag=source.get("etag"))

    def _publish(
        self,
        job: Job,
        token: str,
        before: Photo,
        restoration: Restoration,
        info: ModelInfo,
        report: Report,
    ) -> dict[str, Any]:
        """Store picture, comparison and crops under keys that hold the lease token."""
        output = job.request["output"]
        shelf = _Shelf(self.storage, job, token)
        after = restoration.photo
        kind = output_format(before, output["format"])
        data = encode(after, kind, output["quality"])
        image = shelf.store("restored", kind, data, after)
        compared = None
        if output["comparison"]:
            pair = Photo.of_pixels(comparison(before.pixels, after.pixels))
            compared = shelf.store("comparison", _COMPARISON_FORMAT, encode(pair, "jpeg", 90), pair)
        faces = [_face(face, shelf, output["face_crops"]) for face in restoration.faces]
        if output["key"]:
            # The tenant's own key carries no token, so ask once more that the job is still ours.
            report(Progress(Stage.PUBLISHING, len(faces), len(faces)))
            shelf.put(file_key(job.tenant, output["key"]), kind, data)
        model = {
            "name": info.name,
            "sha256": info.sha256,
            "precision": info.precision,
            "backend": info.backend,
        }
        return {"image": image, "comparison": compared, "faces": faces, "model": model}


@dataclass(frozen=True, slots=True)
class _Shelf:
    """Where the objects of one run go."""

    storage: ObjectStorage
    job: Job
    token: str

    def store(self, name: str, kind: str, data: bytes, photo: Photo) -> dict[str, Any]:
        key = result_key(self.job.tenant, self.job.id, self.token, f"{name}.{kind}")
        self.put(key, kind, data)
        height, width = photo.pixels.shape[:2]
        return {
            "key": key,
            "width": width,
            "height": height,
            "format": kind,
            "bytes": len(data),
            "sha256": hashlib.sha256(data).hexdigest(),
        }

    def put(self, key: str, kind: str, data: bytes) -> None:
        try:
            self.storage.put(key, data, _CONTENT_TYPES[kind])
        except Unavailable as error:
            raise PublishFailed(error.detail) from error


class _Stopwatch:
    """Milliseconds a stage, as the job's ``timings_ms`` shows them."""

    def __init__(self, job: Job) -> None:
        self._start_s = time.monotonic()
        self._timings_ms = {"queue": round(((job.started_at or 0) - job.created_at) * 1000)}

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        start_s = time.monotonic()
        yield
        self._timings_ms[name] = _ms_since(start_s)

    def add(self, timings_ms: Mapping[str, int]) -> None:
        self._timings_ms.update(timings_ms)

    def timings_ms(self) -> dict[str, int]:
        total = self._timings_ms["queue"] + _ms_since(self._start_s)
        return {**self._timings_ms, "total": total}


def _ms_since(start_s: float) -> int:
    return round((time.monotonic() - start_s) * 1000)


def _face_options(options: Mapping[str, Any]) -> FaceOptions:
    faces = options["faces"]
    return FaceOptions(
        faces=faces if isinstance(faces, str) else tuple(faces),
        aligned=options["aligned"],
        min_face_px=options["min_face_px"],
        max_faces=options["max_faces"],
        detection_threshold=options["detection_threshold"],
        strength=options["strength"],
        seed=options["seed"],
        strict=options["strict"],
    )


def _face(face: FaceRecord, shelf: _Shelf, with_crops: bool) -> dict[str, Any]:
    crop = None
    if with_crops and face.crop_before is not None and face.crop_after is not None:
        crop = {}
        for name, pixels in (("before", face.crop_before), ("after", face.crop_after)):
            photo = Photo.of_pixels(pixels)
            data = encode(photo, _CROP_FORMAT, 95)
            stored = shelf.store(f"face-{face.index}-{name}", _CROP_FORMAT, data, photo)
            crop[f"{name}_key"] = stored["key"]
    return {
        "index": face.index,
        "box": [round(float(value), 2) for value in face.box],
        "landmarks": [[round(float(x), 2), round(float(y), 2)] for x, y in face.landmarks],
        "score": round(float(face.score), 4),
        "status": face.status,
        "reason": face.reason,
        "crop": crop,
    }


def _warnings(photo: Photo, restoration: Restoration) -> tuple[str, ...]:
    if restoration.faces:
        return photo.warnings
    return (*photo.warnings, "No face was found: the picture is unchanged.")
