"""Wait for the end of a job: by long polls, or by following its events."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TypeVar

from facemend.calls import call, parse_model, read_model, repeated
from facemend.errors import Unreachable, WaitTimeout
from facemend.event_stream import EventParser
from facemend.models import Detection, Event, Restoration
from facemend.retry import Retries
from facemend.steps import Answer, Emit, Open, Read, Request, Sleep, Steps, Stream

J = TypeVar("J", Restoration, Detection)

#: The service sends a comment every 15 s; a stream that is silent for longer is broken.
_STREAM_READ_S = 45.0
#: What an answer to a long poll may take beyond the wait.
_MARGIN_S = 20.0


@dataclass
class Following:
    """``path``: of the job. ``timeout_s``: raise WaitTimeout after it; None: wait for ever."""

    job_id: str
    path: str
    patience_s: float
    timeout_s: float | None = None
    _began: float = field(default_factory=time.monotonic)

    @property
    def _left_s(self) -> float:
        if self.timeout_s is None:
            return float("inf")
        return max(0.0, self._began + self.timeout_s - time.monotonic())

    def _check_time(self) -> None:
        if not self._left_s:
            raise WaitTimeout(self.job_id, self.timeout_s or 0.0)

    def poll(self, kind: type[J], poll_s: float) -> Steps[J]:
        """Ask until the job has ended; each request waits at the service for ``poll_s``."""
        while True:
            asked, wait_s = time.monotonic(), round(min(poll_s, self._left_s))
            request = Request(
                method="GET", url=self.path, params={"wait": wait_s}, read_s=wait_s + _MARGIN_S
            )
            job = read_model(kind, (yield from call(request, self.patience_s)))
            if job.ended:
                return job
            self._check_time()
            # The service answers at once if it has no place for another long poll.
            yield Sleep(min(self._left_s, max(0.0, 1.0 - (time.monotonic() - asked))))

    def events(self, last_id: str = "") -> Steps[Restoration]:
        """Emit the job's events until it has ended; connect again as often as needed."""
        parser, retries = EventParser(last_id), Retries(self.patience_s)
        while True:
            stream = yield from self._open(parser.last_id)
            if stream.status == 204:  # it has ended, and the caller has seen its last event
                return read_model(Restoration, (yield from self._get()))
            try:
                job = yield from self._read(stream, parser)
            except Unreachable:
                job, pause_s = None, retries.pause_s()
                if pause_s is None:
                    raise
            else:
                retries, pause_s = Retries(self.patience_s), parser.retry_s
            if job is not None:
                return job
            self._check_time()
            parser = EventParser(parser.last_id, parser.retry_s)
            yield Sleep(min(pause_s, self._left_s))

    def _open(self, last_id: str) -> Steps[Stream]:
        headers = {"Last-Event-ID": last_id} if last_id else {}
        request = Request(
            method="GET", url=f"{self.path}/events", headers=headers, read_s=_STREAM_READ_S
        )
        stream: Stream = yield from repeated(Open(request), self.patience_s)
        return stream

    def _read(self, stream: Stream, parser: EventParser) -> Steps[Restoration | None]:
        """Emit the events of one stream; return the job if it has ended."""
        while (piece := (yield Read(stream))) is not None:
            for message in parser.feed(piece):
                job = parse_model(Restoration, message.data)
                yield Emit(Event(id=message.id, type=message.event, job=job))
                if job.ended:
                    return job
            self._check_time()
        return None

    def _get(self) -> Steps[Answer]:
        return (yield from call(Request(method="GET", url=self.path), self.patience_s))
