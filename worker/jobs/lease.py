"""The lease on a running job: renewed while the job runs, and the reason to stop it."""

from __future__ import annotations

import contextvars
import logging
import threading
import time
from types import TracebackType
from typing import Self

from shared.errors import Draining, JobCanceled, LeaseLost, Unavailable
from shared.jobs.job import Progress
from shared.jobs.runs import Beat, Claim
from shared.jobs.store import JobStore
from worker.engine.stage_timer import StageTimer

_log = logging.getLogger(__name__)


class Drain:
    """The shutdown of a worker, and the time that its running jobs have left."""

    def __init__(self, drain_s: float) -> None:
        self._drain_s = drain_s
        self._end_s: float | None = None

    def begin(self) -> None:
        """Start no new job. Running jobs have ``drain_s`` seconds left."""
        if self._end_s is None:
            self._end_s = time.monotonic() + self._drain_s

    @property
    def begun(self) -> bool:
        return self._end_s is not None

    @property
    def over(self) -> bool:
        return self._end_s is not None and time.monotonic() >= self._end_s


class Lease:
    """Renews a claim from its own thread. ``report`` also stores the progress of the job.

    ``timer`` measures the stages of the run.

    The job continues while Redis is away: the token tells ``finish`` whether the lease is still
    ours.
    """

    def __init__(self, store: JobStore, claim: Claim, beat_s: float, drain: Drain) -> None:
        self._store, self._claim, self._beat_s, self._drain = store, claim, beat_s, drain
        self._verdict = Beat.GO_ON
        self._done = threading.Event()
        self.timer = StageTimer()
        # With the context, so that its log lines name the job.
        renew = contextvars.copy_context().run
        self._thread = threading.Thread(target=renew, args=[self._renew], name="lease", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._done.set()
        self._thread.join()

    def report(self, progress: Progress) -> None:
        """Store the progress. Raises LeaseLost, JobCanceled or Draining to stop the job."""
        try:
            self._note(self._store.runs.progress(self._claim.job.id, self._claim.token, progress))
        except Unavailable as error:
            _log.warning("progress not stored: %s", error.detail)
        self.check()

    def check(self) -> None:
        """Raise LeaseLost, JobCanceled or Draining to stop the job."""
        if self._verdict is Beat.FENCED:
            raise LeaseLost
        if self._verdict is Beat.CANCEL:
            raise JobCanceled
        if self._drain.over:
            raise Draining

    def _note(self, verdict: Beat) -> None:
        """FENCED is final and CANCEL stays; GO_ON takes neither of them back."""
        if self._verdict is not Beat.FENCED and verdict is not Beat.GO_ON:
            self._verdict = verdict

    def _renew(self) -> None:
        while not self._done.wait(self._beat_s):
            try:
                self._note(self._store.runs.beat(self._claim.job.id, self._claim.token))
            except Unavailable as error:
                _log.warning("lease not renewed: %s", error.detail)
