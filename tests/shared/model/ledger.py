"""What clients, workers and receivers saw of each job, and checks that it can be true.

The steps of the callers write the ledger. It is never read from Redis, with which it is compared.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from shared.jobs.job import MAX_STARTS, RELEASE_BUDGET, Job, Release, Status
from shared.jobs.runs import Beat, Claim, WithoutResult
from tests.shared.model.clock import Clock
from tests.shared.model.guarantees import Guarantee, require

DAY_S = 86_400.0


@dataclass(slots=True)
class Client:
    """A client with one request, which it repeats under the same key until it gets a response."""

    number: int
    tenant: str
    priority: str
    keyed: bool
    wants_events: bool
    poison: bool
    equal: bool = False  # to each other client of its tenant with this
    answered: bool = False

    @property
    def key(self) -> str:
        return f"wish-{self.number}"

    @property
    def content(self) -> str:
        """What decides the result of its jobs."""
        return f"{'bad' if self.poison else 'good'}-{'same' if self.equal else self.number}"


@dataclass(slots=True)
class JobHistory:
    """One job. The counts belong to its current generation; a retry starts a new one."""

    job_id: str
    client: Client
    created_at: float
    requested_at: float = field(init=False)  # the key is remembered from then on
    accepted: bool = False
    canceled: bool = False
    erased: bool = False
    lost_with_redis: bool = False  # Redis was lost since then
    being_erased: bool = False  # its objects are deleted, then its record
    generation: int = 1
    holder: str | None = None
    lease_until: float = 0.0
    starts: int = 0
    spent: Counter[Release] = field(default_factory=Counter)
    ends: list[Status] = field(default_factory=list)
    waited: bool = False  # for an equal job
    ended: bool = False
    final: Job | None = None  # as it was when it had ended
    deliveries: dict[str, str] = field(default_factory=dict)  # deliveries with their event ids
    received_ids: set[str] = field(default_factory=set)  # event ids that reached the receiver

    def __post_init__(self) -> None:
        self.requested_at = self.created_at

    @property
    def shown(self) -> str:
        """The key of the result in the record."""
        result = self.final and self.final.result
        return str(result["image"]["key"]) if result else ""

    @property
    def tenant(self) -> str:
        return self.client.tenant


class Ledger:
    def __init__(self, clock: Clock, lease_s: float, deadline_s: float) -> None:
        self._clock, self._lease_s, self._deadline_s = clock, lease_s, deadline_s
        self.histories: dict[str, JobHistory] = {}
        self.tally: Counter[str] = Counter()

    @property
    def remaining(self) -> list[JobHistory]:
        return [history for history in self.histories.values() if not history.erased]

    def redis_lost(self, found: Mapping[str, Job]) -> None:
        """Redis was lost; ``found`` are the restored records."""
        self.tally["times that Redis was lost"] += 1
        for history in self.remaining:
            job = found.get(history.job_id)
            over = history.ended or history.being_erased or not history.accepted
            require(job or over, Guarantee.REBUILT, f"{history.job_id} is lost")
            self.tally["jobs that came back"] += job is not None
            history.lost_with_redis = True
            history.holder = None
            if job is None:
                history.erased = True
            else:
                being_erased = history.being_erased  # the erasing continues
                history.ends.clear()  # their deliveries were lost with Redis
                history.generation, history.ended = job.generation - 1, True
                self.retried(history, job.created_at)
                history.being_erased = being_erased

    # --- the API's side ---------------------------------------------------------------------

    def created(self, job_id: str, client: Client, at: float | None = None) -> None:
        if job_id in self.histories:
            return  # it was already restored from its manifest
        since = self._clock.now - DAY_S  # a key is remembered for a day
        others = [
            history.job_id
            for history in self.histories.values()
            if client.keyed and history.client is client and history.requested_at > since
            if not history.lost_with_redis
        ]
        require(not others, Guarantee.ONCE, [*others, job_id])
        self.histories[job_id] = JobHistory(job_id, client, self._clock.now if at is None else at)

    def accepted(self, job_id: str) -> None:
        require(job_id in self.histories, Guarantee.KEPT, f"{job_id} was never created")
        self.histories[job_id].accepted = True
        self.histories[job_id].client.answered = True

    def retried(self, history: JobHistory, at: float | None = None) -> None:
        require(history.ended, Guarantee.STAYS, f"{history.job_id} was retried before it ended")
        history.generation += 1
        self.tally["retries"] += 1
        history.starts = 0
        history.spent.clear()
        history.ended, history.final = False, None
        history.waited = False
        history.canceled = history.being_erased = False
        history.ends = history.ends[: history.generation - 1]
        history.created_at = self._clock.now if at is None else at

    def erased(self, history: JobHistory) -> None:
        self.tally["jobs erased"] += 1
        history.erased = True
        history.holder = None

    # --- the worker's side ------------------------------------------------------------------

    def known(self, job_id: str) -> JobHistory:
        require(job_id in self.histories, Guarantee.KNOWN, job_id)
        return self.histories[job_id]

    def claimed(self, claim: Claim) -> JobHistory:
        history = self.histories[claim.job.id]
        require(not history.erased, Guarantee.STAYS, f"{history.job_id} was erased and runs")
        require(not history.ended, Guarantee.STAYS, f"{history.job_id} has ended and runs")
        require(not history.holder, Guarantee.ALONE, f"{history.job_id} has {history.holder}")
        history.holder, history.lease_until = claim.token, self._clock.now + self._lease_s
        history.starts += 1
        self.tally["starts"] += 1
        self.tally["starts again"] += history.starts > 1
        self.tally["starts alone"] += claim.suspect
        require(
            claim.job.attempt == history.starts,
            Guarantee.COUNTED,
            f"{history.job_id} says {claim.job.attempt}, was started {history.starts} times",
        )
        free_starts = history.spent[Release.DRAIN]
        require(history.starts - free_starts <= MAX_STARTS, Guarantee.CAPPED, history)
        return history

    def beat_answered(self, job_id: str, token: str, answer: Beat) -> None:
        """Check what a worker gets when it renews its lease."""
        history = self.histories[job_id]
        if history.holder != token:
            self.tally["zombies that beat"] += 1
            require(answer is Beat.FENCED, Guarantee.FENCED, f"{job_id} goes on for {token}")
            return
        require(answer is not Beat.FENCED, Guarantee.LEASED, f"{job_id} was taken from {token}")
        require((answer is Beat.CANCEL) == history.canceled, Guarantee.CANCELED, history)

    def prolonged(self, job_id: str, token: str, answer: Beat) -> None:
        self.beat_answered(job_id, token, answer)
        if answer is not Beat.FENCED:
            self.histories[job_id].lease_until = self._clock.now + self._lease_s

    def finished(self, job_id: str, token: str, *, won: bool) -> None:
        history = self.histories[job_id]
        if history.holder != token:
            self.tally["zombies that finish"] += 1
            known = won and token in history.shown  # restored as it had ended, under this token
            require(known or not won, Guarantee.FENCED, f"{job_id} was ended by {token}")
            return
        require(won, Guarantee.LEASED, f"{job_id} was taken from {token}")
        history.holder, history.ended = None, True

    def sought(self, job_id: str, token: str, found: Job | WithoutResult) -> None:
        """Check what a worker gets when it looks for an equal job."""
        history = self.histories[job_id]
        if history.holder != token:
            require(found is WithoutResult.FENCED, Guarantee.FENCED, f"{job_id} finds {found}")
            return
        require(found is not WithoutResult.FENCED, Guarantee.LEASED, f"{job_id} lost {token}")
        if isinstance(found, Job):
            self.tally["results found"] += 1
            other = self.histories[found.id]
            same = (other.tenant, other.client.content) == (history.tenant, history.client.content)
            require(same and not other.erased, Guarantee.EQUAL, f"{job_id} finds {found.id}")
        elif found is WithoutResult.WAIT:
            self.tally["jobs that wait for an equal one"] += 1
            once = not history.waited and not history.canceled
            require(once, Guarantee.EQUAL, f"{job_id} waits again, or was canceled")
            history.waited, history.holder = True, None

    def released(self, job_id: str, token: str, reason: Release, answer: Status | None) -> None:
        history = self.histories[job_id]
        if history.holder != token:
            self.tally["zombies that give back"] += 1
            require(answer is None, Guarantee.FENCED, f"{job_id} was given back by {token}")
            return
        require(answer is not None, Guarantee.LEASED, f"{job_id} was taken from {token}")
        self._given_back(history, reason, answer)

    # --- the notifier's side ----------------------------------------------------------------

    def reaped(self, job_id: str, status: Status) -> None:
        self.tally["jobs reaped"] += 1
        history, now = self.histories[job_id], self._clock.now
        late = now >= history.created_at + self._deadline_s
        silent = history.holder is not None and now >= history.lease_until
        require(late or silent, Guarantee.LEASED, f"{job_id} was reaped too early")
        self._given_back(history, Release.LOST, status)

    def received(self, job_id: str, event_id: str) -> None:
        """Write down an event that reached its receiver."""
        self.tally["events that arrive"] += 1
        self.tally["events that arrive again"] += event_id in self.histories[job_id].received_ids
        self.histories[job_id].received_ids.add(event_id)

    def _given_back(self, history: JobHistory, reason: Release, status: Status | None) -> None:
        history.holder = None
        if status is not Status.QUEUED:
            history.ended = True
            return
        history.spent[reason] += 1
        require(not history.canceled, Guarantee.CANCELED, history)
        require(history.spent[reason] <= RELEASE_BUDGET[reason], Guarantee.CAPPED, history)
