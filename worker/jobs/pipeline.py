"""The pipeline of one job: fetch, decode, restore, publish.

It knows neither Celery nor torch, and touches no pixel: a sandbox decodes photos, and the engine
process restores them. It catches no error; ``worker.jobs.runner`` decides what an error means.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass
from typing import Any, Protocol

from shared.errors import InputChanged, InputNotFound
from shared.jobs.job import Job, Kind, Progress, Stage, Status
from shared.jobs.record import Outcome
from shared.jobs.runs import Claim
from shared.net.fetcher import Fetcher
from shared.provenance.signing_keys import SigningKey
from shared.storage.bucket import ObjectStorage
from shared.storage.keys import input_key, quarantine_key
from shared.telemetry import traced
from worker.decoder.decoded_photo import DecodedPhoto
from worker.engine.stage_timer import OnProgress, StageTimer
from worker.engine_process.protocol import RestoreRequest
from worker.engine_process.result_file import ResultFile
from worker.jobs.publisher import InputFile, Published, ResultPublisher
from worker.jobs.result_cache import ResultCache

_NO_PLACE = nullcontext()


class JobContext(Protocol):
    """What a running job reports to. To stop the job, raises LeaseLost, JobCanceled or Draining."""

    @property
    def timer(self) -> StageTimer:
        """Measures the stages, also of a job that fails or is canceled."""

    def report(self, progress: Progress) -> None:
        """Store the progress, which the customer sees."""

    def check(self) -> None:
        """Only check whether to stop."""


class PhotoDecoder(Protocol):
    """Decodes a customer's photo; ``Decoder`` is one."""

    def decode(self, data: bytes) -> DecodedPhoto: ...


class Engine(Protocol):
    """Restores a decoded photo; ``EngineSupervisor`` is one."""

    def restore(
        self,
        request: RestoreRequest,
        photo: int,
        on_progress: OnProgress,
        check: Callable[[], None],
        *,
        alone: bool = False,
    ) -> ResultFile: ...


@dataclass(frozen=True, slots=True)
class Pipeline:
    """Restores jobs; safe to call from many threads at once."""

    storage: ObjectStorage
    fetcher: Fetcher
    decoder: PhotoDecoder
    engine: Engine
    max_bytes: int
    fetch_timeout_s: float
    fetch_head_timeout_s: float
    fetch_min_bytes_per_s: int
    signing_key: SigningKey | None = None  # without it, results have no manifest
    cache: ResultCache | None = None  # without it, each job runs

    def run(
        self, claim: Claim, context: JobContext, place: AbstractContextManager[None] = _NO_PLACE
    ) -> Outcome:
        """Fetch, decode, restore, publish. ``place`` is entered when the photo has arrived.

        Raises InputError for the photo (InputChanged if it is not that of the detection),
        EngineError for the model, EngineCrashed, PublishFailed for the result, and what
        ``context`` raises. Raises EqualJobRuns if the job is back in the queue and waits for an
        equal one.
        """
        start_s = time.monotonic()
        timer = context.timer
        timer.add_ms({"queue": 1000 * _queued_s(claim.job)})
        with timer.stage("fetch"), traced("fetch"):
            context.report(Progress(Stage.FETCHING))
            read = self._read_suspect if claim.suspect else self._read
            data = read(claim, context)
            file = InputFile.of(data)
            _check_photo_of_detection(claim.job, file)
        published = self._copy(claim, data, file, context)
        if published is None:
            with place:
                published = self._run(claim, data, file, context)
        timings_ms = timer.timings_ms()
        timings_ms["total"] = timings_ms["queue"] + round(1000 * (time.monotonic() - start_s))
        outcome = Outcome(
            status=Status.SUCCEEDED,
            result=published.result,
            error=None,
            warnings=published.warnings,
            timings_ms=timings_ms,
            cached=published.cached,
        )
        ResultPublisher(self.storage, claim.job, claim.token).seal(outcome)
        if claim.suspect:
            self.storage.delete([quarantine_key(claim.job.tenant, claim.job.id)])
        return outcome

    def _copy(
        self, claim: Claim, data: bytes, file: InputFile, context: JobContext
    ) -> Published | None:
        """Publish a copy of the result of an equal job, if there is one."""
        if self.cache is None:
            return None
        start_s = time.monotonic()
        with traced("look up"):
            published = self.cache.copy(claim, data, file, self._publisher(claim))
        if published is not None:
            self._deliver(claim, published.result, context)
            context.timer.add_ms({"publish": 1000 * (time.monotonic() - start_s)})
        return published

    def _run(self, claim: Claim, data: bytes, file: InputFile, context: JobContext) -> Published:
        """Decode, restore, publish."""
        timer = context.timer
        with timer.stage("fetch"), traced("decode"):
            decoded = self.decoder.decode(data)
        with decoded, traced("restore") as span:
            result_file = self._restore(claim, decoded, context)
            span.set(**_engine_times(result_file))
        with result_file:
            timer.add_ms(result_file.metadata["timings_ms"])
            with timer.stage("publish"), traced("publish"):
                result = self._publish(claim, file, result_file, context)
            return Published(result, tuple(result_file.metadata["warnings"]))

    def _read_suspect(self, claim: Claim, context: JobContext) -> bytes:
        """Read the photo of a job that may crash the engine process, and keep a copy apart.

        The copy is written before the run, so that it exists whatever the run does. A later run
        uses the copy.
        """
        key = quarantine_key(claim.job.tenant, claim.job.id)
        try:
            return self.storage.get(key, max_bytes=self.max_bytes)
        except InputNotFound:
            data = self._read(claim, context)
        self.storage.put(key, data, "application/octet-stream")
        return data

    def _read(self, claim: Claim, context: JobContext) -> bytes:
        source = claim.job.source
        if "url" in source:
            if claim.waited:
                with suppress(InputNotFound):
                    kept = input_key(claim.job.tenant, claim.job.id)
                    return self.storage.get(kept, max_bytes=self.max_bytes)
            return self.fetcher.get(
                source["url"],
                max_bytes=self.max_bytes,
                timeout_s=self.fetch_timeout_s,
                head_s=self.fetch_head_timeout_s,
                min_bytes_per_s=self.fetch_min_bytes_per_s,
                check=context.check,
            )
        return self.storage.get(source["key"], max_bytes=self.max_bytes, etag=source.get("etag"))

    def _restore(self, claim: Claim, decoded: DecodedPhoto, context: JobContext) -> ResultFile:
        job = claim.job
        request = RestoreRequest(
            job.id,
            job.model,
            options=job.request.get("options", {}),
            output=job.request.get("output", {}),
            log_fields=job.log_fields,
            kind=job.kind,
            faces_found=(job.request.get("detected") or {}).get("faces"),
        )
        progress = _Progress(context, enlarges=request.options.get("background", "keep") != "keep")
        return self.engine.restore(
            request, decoded.fd, progress, context.check, alone=claim.suspect
        )

    def _publish(
        self, claim: Claim, file: InputFile, result_file: ResultFile, context: JobContext
    ) -> dict[str, Any]:
        publisher = self._publisher(claim)
        if claim.job.kind is Kind.DETECTION:
            return publisher.publish_detection(file, result_file)
        result = publisher.publish(file, result_file)
        self._deliver(claim, result, context)
        return result

    def _publisher(self, claim: Claim) -> ResultPublisher:
        return ResultPublisher(self.storage, claim.job, claim.token, self.signing_key)

    def _deliver(self, claim: Claim, result: dict[str, Any], context: JobContext) -> None:
        """Put the picture also where the client wants it."""
        publisher, output = self._publisher(claim), claim.job.request["output"]
        if output["key"]:
            done = sum(face["status"] == "restored" for face in result["faces"])
            # raises if another worker has the job
            context.report(Progress(Stage.PUBLISHING, done, len(result["faces"])))
            publisher.copy_to_tenant(result["image"])
        if output.get("store"):
            context.check()
            publisher.put_at_client(
                result["image"], self.fetcher, timeout_s=self.fetch_timeout_s, check=context.check
            )


def _check_photo_of_detection(job: Job, file: InputFile) -> None:
    """Raise InputChanged if the job has the faces of a detection of another photo."""
    detected = job.request.get("detected")
    if detected is not None and detected["sha256"] != file.sha256:
        raise InputChanged("The photo is not the one in which the detection found the faces")


class _Progress:
    """Reports the steps of the engine as the progress of the job."""

    def __init__(self, context: JobContext, *, enlarges: bool) -> None:
        self._context = context
        self._enlarged = 0.0 if enlarges else None

    def __call__(self, stage: str, done: int, total: int | None) -> None:
        if stage != "enlarging":
            self._context.report(Progress(Stage(stage), done, total, self._enlarged))
        elif total:
            self._enlarged = done / total
            self._context.report(Progress(Stage.RESTORING, enlarged=self._enlarged))


def _engine_times(result_file: ResultFile) -> dict[str, int]:
    """Return what the engine measured, as attributes: its steps alternate, face by face."""
    return {f"{stage}_ms": ms for stage, ms in result_file.metadata["timings_ms"].items()}


def _queued_s(job: Job) -> float:
    """Return how long the job waited in the queue."""
    return (job.started_at or job.created_at) - job.created_at
