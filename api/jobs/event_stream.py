"""What a client reads while it follows a job: server-sent events (WHATWG HTML, 9.2)."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field

from api.context import Services
from shared.contract.rendering import represent
from shared.errors import NotFound, Unavailable
from shared.jobs.job import Job

COME_AGAIN_MS = 2_000
#: Streams end after this time, so that clients come to newer processes, too.
LONGEST_S = 600.0


@dataclass
class EventStream:
    """The body of a response: each piece is what is new, and asking for one never waits.

    So the server asks when the job has changed, or when a heartbeat is due: proxies close what is
    silent, and only who says something finds out that nobody listens. ``version`` is what the
    client has; ``stay``: whether the stream goes on after its first piece.
    """

    job: Job
    version: int | None
    services: Services
    stay: bool
    _status: str | None = None
    _begun: bool = False
    _ended: bool = False
    _ends_s: float = field(default_factory=lambda: time.monotonic() + LONGEST_S)

    def __post_init__(self) -> None:
        if self.version == self.job.version:
            self._status = self.job.status

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        if self._begun and not self._look():
            raise StopIteration
        piece = "" if self._begun else f"retry: {COME_AGAIN_MS}\n\n"
        self._begun = True
        if self.job.version != self.version:
            piece += self._event()
        self._ended = self.job.status.terminal
        return (piece or ": heartbeat\n\n").encode()

    @property
    def ended(self) -> bool:
        """The next piece would be none."""
        over = self._ended or not self.stay or time.monotonic() >= self._ends_s
        return self._begun and (over or self.services.draining.is_set())

    def close(self) -> None:
        """Give the slot back. The server does it, however the stream ended."""
        if self.stay:
            self.stay = False
            self.services.streaming_slots.release(self.job.tenant)

    def _look(self) -> bool:
        if self.ended:
            return False
        try:
            with self.services.deadline.start():
                self.job = self.services.store.get(self.job.tenant, self.job.id)
        except (NotFound, Unavailable):
            return False  # the client comes again and hears why
        return True

    def _event(self) -> str:
        name = "progress" if self.job.status == self._status else "status"
        self.version, self._status = self.job.version, self.job.status
        data = represent(self.job, self.services.storage).model_dump_json()
        return f"id: {self.job.version}\nevent: {name}\ndata: {data}\n\n"
