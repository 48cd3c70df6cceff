"""One job from fetched bytes to published result, as a straight line.

Knows neither Celery nor torch, and touches no pixel: photos are decoded in a sandbox and restored
in the engine's process. Nothing is caught here; ``worker.jobs.runner`` decides what an error means.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

from shared.jobs.job import Job, Progress, Stage, Status
from shared.jobs.store import Claim, Outcome
from shared.net.fetcher import Fetcher
from shared.storage.bucket import ObjectStorage
from worker.decoder.result_file import Decoded
from worker.engine_process.request import Order
from worker.engine_process.result import Finished
from worker.jobs.publisher import Publication


class Hold(Protocol):
    """The right to go on: both raise to stop the job (lease lost, cancelled, draining)."""

    def report(self, progress: Progress) -> None:
        """Tell the customer."""

    def check(self) -> None:
        """Ask, without telling anything."""


class PhotoDecoder(Protocol):
    """A customer's bytes to raw pixels."""

    def decode(self, data: bytes) -> Decoded: ...


class Engine(Protocol):
    """Raw pixels to finished pictures; ``EngineProcess`` is one."""

    def restore(
        self,
        order: Order,
        photo: int,
        on_progress: Callable[[str, int, int | None], None],
        check: Callable[[], None],
        *,
        alone: bool = False,
    ) -> Finished: ...


@dataclass(frozen=True, slots=True)
class Pipeline:
    """Restores jobs; safe to call from many threads at once."""

    storage: ObjectStorage
    fetcher: Fetcher
    decoder: PhotoDecoder
    engine: Engine
    max_bytes: int
    fetch_timeout_s: float

    def run(self, claim: Claim, hold: Hold) -> Outcome:
        """Fetch, decode, restore, publish.

        Raises InputError for the photo, EngineError for the model, EngineCrashed, PublishFailed
        for the result, and whatever ``hold`` raises.
        """
        watch = _Stopwatch(claim.job)
        with watch.stage("fetch"):
            hold.report(Progress(Stage.FETCHING))
            decoded = self.decoder.decode(self._read(claim.job))
        with decoded:
            finished = self._restore(claim, decoded, hold)
        with finished:
            watch.add(finished.facts["timings_ms"])
            with watch.stage("publish"):
                result = self._publish(claim, finished, hold)
        outcome = Outcome(
            status=Status.SUCCEEDED,
            result=result,
            error=None,
            warnings=tuple(finished.facts["warnings"]),
            timings_ms=watch.timings_ms(),
        )
        Publication(self.storage, claim.job, claim.token).seal(outcome)
        return outcome

    def _read(self, job: Job) -> bytes:
        source = job.source
        if "url" in source:
            return self.fetcher.get(
                source["url"], max_bytes=self.max_bytes, timeout_s=self.fetch_timeout_s
            )
        return self.storage.get(source["key"], max_bytes=self.max_bytes, etag=source.get("etag"))

    def _restore(self, claim: Claim, decoded: Decoded, hold: Hold) -> Finished:
        job = claim.job
        order = Order(job.id, job.model, job.request["options"], job.request["output"])
        progress = _Progress(hold, enlarges=order.options.get("background", "keep") != "keep")
        return self.engine.restore(order, decoded.fd, progress, hold.check, alone=claim.suspect)

    def _publish(self, claim: Claim, finished: Finished, hold: Hold) -> dict[str, Any]:
        publication = Publication(self.storage, claim.job, claim.token)
        result = publication.publish(finished)
        if claim.job.request["output"]["key"]:
            done = sum(face["status"] == "restored" for face in result["faces"])
            # raises if the job is no longer ours
            hold.report(Progress(Stage.PUBLISHING, done, len(result["faces"])))
            publication.copy_to_tenant(result["image"])
        return result


class _Progress:
    """Tells of the engine's steps in the job's words."""

    def __init__(self, hold: Hold, *, enlarges: bool) -> None:
        self._hold = hold
        self._enlarged = 0.0 if enlarges else None

    def __call__(self, stage: str, done: int, total: int | None) -> None:
        if stage != "enlarging":
            self._hold.report(Progress(Stage(stage), done, total, self._enlarged))
        elif total:
            self._enlarged = done / total
            self._hold.report(Progress(Stage.RESTORING, enlarged=self._enlarged))


class _Stopwatch:
    """Milliseconds a stage, as the job's ``timings_ms`` shows them."""

    def __init__(self, job: Job) -> None:
        self._start_s = time.monotonic()
        queued_s = (job.started_at or job.created_at) - job.created_at
        self._timings_ms = {"queue": round(queued_s * 1000)}

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time what is inside; what a stage took elsewhere is kept."""
        start_s = time.monotonic()
        yield
        self._timings_ms[name] = self._timings_ms.get(name, 0) + _ms_since(start_s)

    def add(self, timings_ms: Mapping[str, int]) -> None:
        self._timings_ms.update(timings_ms)

    def timings_ms(self) -> dict[str, int]:
        total = self._timings_ms["queue"] + _ms_since(self._start_s)
        return {**self._timings_ms, "total": total}


def _ms_since(start_s: float) -> int:
    return round((time.monotonic() - start_s) * 1000)
