"""The result cache: the results of finished jobs, found again for equal jobs of the same tenant.

Nothing is stored for it: a result can be found as long as its own job is kept. An equal job gets a
copy of the objects under keys of its own, so that either job can be erased without the other.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from shared.errors import EqualJobRuns, InputNotFound, LeaseLost, PublishFailed, Unavailable
from shared.jobs.job import Job, Kind
from shared.jobs.runs import Claim, Runs, WithoutResult
from shared.jobs.workers import ServedModel
from shared.telemetry import CACHE_LOOKUPS
from worker.jobs.content import content_of
from worker.jobs.publisher import InputFile, Published, ResultPublisher

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ResultCache:
    """``models`` returns the models that this worker has loaded. Thread-safe."""

    runs: Runs
    models: Callable[[], Sequence[ServedModel]]

    def copy(
        self, claim: Claim, data: bytes, file: InputFile, publisher: ResultPublisher
    ) -> Published | None:
        """Publish a copy of the result of an equal job. Returns None if the job must run itself.

        A result that cannot be copied is no error: the job runs itself. Raises EqualJobRuns if an
        equal job runs now: then this job is back in the queue, and starts again when that one ends.
        ``data``, the photo, is kept for that start if it came from a URL, which may work only once.
        Raises LeaseLost.
        """
        model = next((each for each in self.models() if each.name == claim.job.model), None)
        if model is None or claim.job.kind is not Kind.RESTORATION:
            return None
        content = content_of(claim.job.request, file.sha256, model)
        if content is None:
            return None
        gone: str | None = None
        keep = partial(publisher.keep_photo, data)
        while (equal := self._find(claim, content, gone, keep)) is not None:
            if not _is_of(equal, model):
                gone = equal.id  # the file was replaced between its lookup and its run
                continue
            try:
                published = publisher.publish_copy(file, equal)
            except InputNotFound:
                gone = equal.id  # erased just now
            except PublishFailed as error:
                _log.warning("the result of an equal job is not copied: %s", error.detail)
                break
            else:
                self._count(claim, "hit")
                return published
        self._count(claim, "miss")
        return None

    def _find(
        self, claim: Claim, content: str, gone: str | None, keep: Callable[[], None]
    ) -> Job | None:
        find = partial(self.runs.find_equal, claim.job.id, claim.token, content, without=gone)
        try:
            found = find(may_wait="url" not in claim.job.source)
            if found is WithoutResult.BUSY:
                keep()
                found = find(may_wait=True)
        except Unavailable as error:
            _log.warning("no equal job is looked for: %s", error.detail)
            return None
        if isinstance(found, Job):
            return found
        if found is WithoutResult.FENCED:
            raise LeaseLost
        if found is WithoutResult.WAIT:
            self._count(claim, "wait")
            raise EqualJobRuns
        return None

    def _count(self, claim: Claim, outcome: str) -> None:
        CACHE_LOOKUPS.labels(model=claim.job.model, outcome=outcome).inc()


def _is_of(job: Job, model: ServedModel) -> bool:
    """Return whether the result was made by this model with these weights."""
    return job.result is not None and job.result["model"]["sha256"] == model.sha256
