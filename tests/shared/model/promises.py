"""What Facemend promises about a job, in words; a story that breaks one ends there."""

from __future__ import annotations

from enum import StrEnum


class Promise(StrEnum):
    KEPT = "what was accepted is never lost"
    ENDS = "an accepted job ends"
    SOON = "a job that is due starts within seconds"
    STAYS = "a job that has ended does not change"
    ALONE = "one worker at a time"
    FENCED = "who lost the lease changes nothing"
    LEASED = "a worker that beats keeps its job"
    COUNTED = "a start counts when it begins"
    CAPPED = "budgets end what never works"
    GUILTY = "only the image that crashes is condemned"
    THERE = "a result that is named is there"
    ANNOUNCED = "an end and its event are one step"
    HEARD = "each event arrives, or is a dead letter, under one id"
    CANCELED = "a cancel that was accepted wins"
    ONCE = "one key, one job"
    KNOWN = "no bell rings for a job that is not there"
    RECOUNT = "indexes and counters equal a recount"
    REBUILT = "an unfinished job can be rebuilt without Redis"
    CLEAN = "nothing is left behind"


class BrokenPromise(AssertionError):
    def __init__(self, promise: Promise, detail: object) -> None:
        super().__init__(f"{promise}: {detail}")
        self.promise = promise


def require(kept: object, promise: Promise, detail: object) -> None:
    """Raises BrokenPromise."""
    if not kept:
        raise BrokenPromise(promise, detail)
