"""One job from fetched bytes to published result, as a straight line.

Knows neither Celery nor torch: the engine is anything that restores a photo, the lease anything
that can be told of progress. Nothing is caught here; ``worker.tasks`` decides what an error means.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, fields
from typing import Any, Protocol

from shared.fetch import Fetcher
from shared.jobs import Job, Progress, Stage, Status
from shared.storage import ObjectStorage
from shared.store import Outcome
from worker.engine import (
    FaceOptions,
    Limits,
    ModelInfo,
    Photo,
    Restoration,
    decode,
    require_room,
)
from worker.publication import Publication

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

        options = _face_options(job.request)
        require_room(photo, job.request["output"]["format"], options.background_scale)
        restoration = restorer.restore(photo, options, _Progress(report, options))
        watch.add(restoration.timings_ms)
        faces_done = sum(face.status == "restored" for face in restoration.faces)
        publishing = Progress(Stage.PUBLISHING, faces_done, len(restoration.faces))
        report(publishing)
        with watch.stage("publish"):
            publication = Publication(self.storage, job, token)
            result = publication.publish(photo, restoration, restorer.info)
            if job.request["output"]["key"]:
                report(publishing)  # raises if the job is no longer ours
                publication.copy_to_tenant(result["image"])
        return Outcome(
            status=Status.SUCCEEDED,
            result=result,
            error=None,
            warnings=restoration.warnings,
            timings_ms=watch.timings_ms(),
        )

    def _read(self, job: Job) -> bytes:
        source, max_bytes = job.source, self.limits.max_bytes
        if "url" in source:
            return self.fetcher.get(
                source["url"], max_bytes=max_bytes, timeout_s=self.fetch_timeout_s
            )
        return self.storage.get(source["key"], max_bytes=max_bytes, etag=source.get("etag"))


class _Progress:
    """Tells of the engine's steps in the job's words."""

    def __init__(self, report: Report, options: FaceOptions) -> None:
        self._report = report
        self._enlarged = None if options.background == "keep" else 0.0

    def __call__(self, stage: str, done: int, total: int | None) -> None:
        if stage != "enlarging":
            self._report(Progress(Stage(stage), done, total, self._enlarged))
        elif total:
            self._enlarged = done / total
            self._report(Progress(Stage.RESTORING, enlarged=self._enlarged))


class _Stopwatch:
    """Milliseconds a stage, as the job's ``timings_ms`` shows them."""

    def __init__(self, job: Job) -> None:
        self._start_s = time.monotonic()
        queued_s = (job.started_at or job.created_at) - job.created_at
        self._timings_ms = {"queue": round(queued_s * 1000)}

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


def _face_options(request: Mapping[str, Any]) -> FaceOptions:
    """As the request says; what an API of another version does not know of keeps its default."""
    known = {field.name for field in fields(FaceOptions)}
    given: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value
        for name, value in request["options"].items()
        if name in known
    }
    return FaceOptions(**given, crops=request["output"]["face_crops"])
