"""Turns a job record into the resource that clients see, with presigned URLs instead of keys.

The API and the notifier both use it, so responses and webhooks always agree.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from shared.contract.detections import (
    Detection,
    DetectionResult,
    FacePreview,
    FoundFace,
    PhotoView,
)
from shared.contract.restorations import (
    Face,
    FaceCrop,
    ModelUsed,
    Problem,
    ProgressView,
    QueueView,
    Restoration,
    Result,
    StoredImage,
    StoredManifest,
)
from shared.jobs.job import Job, Kind, Progress, Stage, Status
from shared.storage.bucket import Storage


def represent(job: Job, storage: Storage) -> Restoration:
    """Return the resource. Its URLs are presigned now, with the time at which they expire."""
    request = job.request
    return Restoration(
        id=job.id,
        status=job.status,
        created_at=_instant(job.created_at),
        started_at=_instant_or_none(job.started_at),
        finished_at=_instant_or_none(job.finished_at),
        attempt=job.attempt,
        model=job.model,
        options=request.get("options", {}),
        input=request.get("input", {}),
        output=_output(request.get("output", {})),
        metadata=request.get("metadata", {}),
        progress=_progress(job),
        queue=_queue(job),
        result=None if job.result is None else _result(job, job.result, storage),
        cached=job.cached,
        error=None if job.error is None else Problem.model_validate(job.error),
        warnings=list(job.warnings),
        timings_ms=job.timings_ms,
        expires_at=_instant_or_none(job.expires_at),
    )


def represent_detection(job: Job, storage: Storage) -> Detection:
    """Return the resource of a job that finds faces, as ``represent`` does for a restoration."""
    return Detection(
        id=job.id,
        status=job.status,
        created_at=_instant(job.created_at),
        started_at=_instant_or_none(job.started_at),
        finished_at=_instant_or_none(job.finished_at),
        attempt=job.attempt,
        input=job.request.get("input", {}),
        progress=_progress(job),
        queue=_queue(job),
        result=None if job.result is None else _detection_result(job.result, storage),
        error=None if job.error is None else Problem.model_validate(job.error),
        warnings=list(job.warnings),
        timings_ms=job.timings_ms,
        expires_at=_instant_or_none(job.expires_at),
    )


def _output(output: dict[str, Any]) -> dict[str, Any]:
    """Return the output as requested, but without the signature in the address of ``store``."""
    store = output.get("store")
    if not store:
        return output
    return output | {"store": {"url": store["url"].partition("?")[0]}}


def _queue(job: Job) -> QueueView | None:
    if job.queue_position is None:
        return None
    return QueueView(
        position=job.queue_position, eta_s=job.queue_eta_s, eta_reason=job.queue_eta_reason
    )


def _instant(unix_s: float) -> datetime:
    return datetime.fromtimestamp(unix_s, UTC)


def _instant_or_none(unix_s: float | None) -> datetime | None:
    return None if unix_s is None else _instant(unix_s)


def _progress(job: Job) -> ProgressView | None:
    """Return how far the job is; for one that failed or was canceled, how far it came."""
    if job.status is Status.SUCCEEDED:
        faces = (job.result or {}).get("faces", ())
        found_only = job.kind is Kind.DETECTION
        done = sum(found_only or face["status"] == "restored" for face in faces)
        return ProgressView(
            stage=Stage.PUBLISHING, faces_done=done, faces_total=len(faces), percent=100
        )
    return progress_view(job.progress)


def progress_view(progress: Progress | None) -> ProgressView | None:
    """Return the progress of a run as clients see it."""
    if progress is None:
        return None
    return ProgressView(
        stage=progress.stage,
        faces_done=progress.faces_done,
        faces_total=progress.faces_total,
        percent=progress.percent,
    )


def _result(job: Job, result: Mapping[str, Any], storage: Storage) -> Result:
    comparison = result.get("comparison")
    return Result(
        image=_image(result["image"], storage, f"restored-{job.id}"),
        comparison=comparison and _image(comparison, storage, f"comparison-{job.id}"),
        manifest=_manifest(job, result, storage),
        faces=[_face(face, storage) for face in result["faces"]],
        model=ModelUsed.model_validate(result["model"]),
        background=result.get("background"),
    )


def _manifest(job: Job, result: Mapping[str, Any], storage: Storage) -> StoredManifest | None:
    stored = result.get("manifest")
    if stored is None:
        return None
    url, expires_at = storage.presign(stored["key"], filename=f"manifest-{job.id}.json")
    return StoredManifest(url=url, key=stored["key"], url_expires_at=expires_at)


def _detection_result(result: Mapping[str, Any], storage: Storage) -> DetectionResult:
    return DetectionResult(
        photo=PhotoView.model_validate(result["photo"]),
        faces=[_found_face(face, storage) for face in result["faces"]],
        detector=result["detector"],
    )


def _found_face(face: Mapping[str, Any], storage: Storage) -> FoundFace:
    stored = face["preview"]
    url, expires_at = storage.presign(stored["key"])
    preview = FacePreview(
        url=url, width=stored["width"], height=stored["height"], url_expires_at=expires_at
    )
    return FoundFace.model_validate({**face, "preview": preview})


def _image(image: Mapping[str, Any], storage: Storage, name: str) -> StoredImage:
    url, expires_at = storage.presign(image["key"], filename=f"{name}.{image['format']}")
    return StoredImage(url=url, url_expires_at=expires_at, **image)


def _face(face: Mapping[str, Any], storage: Storage) -> Face:
    crop = face.get("crop")
    urls = crop and FaceCrop(
        before_url=storage.presign(crop["before_key"])[0],
        after_url=storage.presign(crop["after_key"])[0],
    )
    return Face.model_validate({**face, "crop": urls})
