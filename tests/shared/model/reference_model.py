"""A job as it should be after each call of the store, computed from the rules alone."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from shared.jobs.job import MAX_STARTS, RELEASE_BUDGET, TERMINAL_EVENT, Event, Release, Status
from shared.jobs.record import NewJob


@dataclass
class ReferenceJob:
    """The expected state of one job."""

    new: NewJob
    deadline: float
    status: Status = Status.QUEUED
    generation: int = 1
    attempt: int = 0
    starts: int = 0
    cancel: bool = False
    erased: bool = False
    poisoned: bool = False
    tokens: list[str] = field(default_factory=list)  # of all starts; the last one may be valid
    spent: Counter[Release] = field(default_factory=Counter)
    winner: str | None = None
    events: list[Event] = field(default_factory=list)

    def start(self, token: str) -> None:
        self.status = Status.RUNNING
        self.attempt += 1
        self.starts += 1
        self.tokens.append(token)
        if self.attempt == 1:
            self.events.append(Event.STARTED)

    def end(self, status: Status) -> None:
        self.status = Status.CANCELED if self.cancel else status
        self.cancel = self.poisoned = False
        self.spent.clear()
        self.events.append(TERMINAL_EVENT[self.status])

    def release(self, reason: Release) -> None:
        self.spent[reason] += 1
        self.starts -= reason is Release.DRAIN
        spent = self.spent[reason] > RELEASE_BUDGET[reason]
        if self.cancel or spent or self.starts >= MAX_STARTS:
            self.end(Status.FAILED)
            self.poisoned = self.status is Status.FAILED and spent and reason is Release.CRASH
        else:
            self.status = Status.QUEUED

    def retry(self, deadline: float) -> None:
        self.status, self.deadline, self.winner = Status.QUEUED, deadline, None
        self.generation += 1
        self.attempt = self.starts = 0
        if self.poisoned:  # it runs alone, and the next crash fails it again
            self.spent[Release.CRASH] = 1

    def refund(self) -> None:
        self.starts -= self.spent.pop(Release.CRASH, 0)

    def runs_under(self, token: str) -> bool:
        return not self.erased and self.status is Status.RUNNING and self.tokens[-1:] == [token]
