"""What Facemend guarantees about a job, in words. A check that fails names its guarantee."""

from __future__ import annotations

from enum import StrEnum


class Guarantee(StrEnum):
    KEPT = "an accepted job is never lost"
    ENDS = "an accepted job ends"
    SOON = "a job that is due starts within seconds"
    STAYS = "a job that has ended does not change"
    ALONE = "one worker at a time"
    FENCED = "a worker that lost its lease changes nothing"
    LEASED = "a worker that renews its lease keeps its job"
    COUNTED = "a start counts when it begins"
    CAPPED = "budgets end a job that never works"
    GUILTY = "only an image that crashes the engine is poisoned"
    THERE = "a result that a record names exists"
    ANNOUNCED = "a job ends and its event is written in one step"
    RECEIVED = "each event arrives, or becomes a dead letter, under one id"
    CANCELED = "a cancel that was accepted wins"
    EQUAL = "a job gets the result of an equal one of its tenant, and waits for it once at most"
    ONCE = "one key, one job"
    KNOWN = "no doorbell rings for a job without a record"
    RECOUNT = "indexes and counters equal a recount"
    REBUILT = "an unfinished job can be rebuilt without Redis"
    CLEAN = "nothing is left behind"


class BrokenGuarantee(AssertionError):
    def __init__(self, guarantee: Guarantee, detail: object) -> None:
        super().__init__(f"{guarantee}: {detail}")
        self.guarantee = guarantee


def require(kept: object, guarantee: Guarantee, detail: object) -> None:
    """Raises BrokenGuarantee."""
    if not kept:
        raise BrokenGuarantee(guarantee, detail)
