"""The lease on a running job: beats while the work goes on, and says when to stop."""

from __future__ import annotations

import logging
import threading
import time
from types import TracebackType
from typing import Self

from shared.errors import Draining, JobCanceled, LeaseLost, Unavailable
from shared.jobs.job import Progress
from shared.jobs.store import Beat, Claim, JobStore

_log = logging.getLogger(__name__)


class Drain:
    """Whether the worker is being stopped, and by when its jobs must be done."""

    def __init__(self, drain_s: float) -> None:
        self._drain_s = drain_s
        self._ends_s: float | None = None

    def begin(self) -> None:
        """Take no new job; those in flight have ``drain_s`` seconds left."""
        if self._ends_s is None:
            self._ends_s = time.monotonic() + self._drain_s

    @property
    def begun(self) -> bool:
        return self._ends_s is not None

    @property
    def over(self) -> bool:
        return self._ends_s is not None and time.monotonic() >= self._ends_s


class Lease:
    """Keeps a claim alive from a thread of its own; ``report`` tells the customer and asks back.

    Redis being away is no reason to stop: the job goes on, and ``finish`` finds out by the token
    whether it is still ours.
    """

    def __init__(self, store: JobStore, claim: Claim, beat_s: float, drain: Drain) -> None:
        self._store, self._claim, self._beat_s, self._drain = store, claim, beat_s, drain
        self._answer = Beat.GO_ON
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._keep, name="lease", daemon=True)

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
        """Write progress down; raises LeaseLost, JobCanceled or Draining when to stop."""
        try:
            self._hear(self._store.progress(self._claim.job.id, self._claim.token, progress))
        except Unavailable as error:
            _log.warning("progress not written: %s", error.detail)
        self.check()

    def check(self) -> None:
        if self._answer is Beat.FENCED:
            raise LeaseLost
        if self._answer is Beat.CANCEL:
            raise JobCanceled
        if self._drain.over:
            raise Draining

    def _hear(self, answer: Beat) -> None:
        """A fence is final, a wish to cancel stays; "go on" never takes either back."""
        if self._answer is not Beat.FENCED and answer is not Beat.GO_ON:
            self._answer = answer

    def _keep(self) -> None:
        while not self._done.wait(self._beat_s):
            try:
                self._hear(self._store.beat(self._claim.job.id, self._claim.token))
            except Unavailable as error:
                _log.warning("beat not heard: %s", error.detail)
