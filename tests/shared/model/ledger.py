"""What the outside world saw of each job, and whether it could be true.

Kept by the callers' steps, never read from Redis: it is the other side of the comparison.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from shared.jobs.job import MAX_STARTS, RELEASE_BUDGET, Job, Release, Status
from shared.jobs.store import Beat, Claim
from tests.shared.model.clock import Clock
from tests.shared.model.promises import Promise, require

DAY_S = 86_400.0


@dataclass(slots=True)
class Client:
    """A customer with one wish, who asks again under the same key until there is an answer."""

    number: int
    tenant: str
    priority: str
    keyed: bool
    wants_events: bool
    poison: bool
    answered: bool = False

    @property
    def key(self) -> str:
        return f"wish-{self.number}"


@dataclass(slots=True)
class Story:
    """One job. What is counted belongs to its present generation (retries begin a new one)."""

    job_id: str
    client: Client
    created_at: float
    asked_at: float = field(init=False)  # the first time; a key is remembered from then on
    accepted: bool = False
    canceled: bool = False
    erased: bool = False
    forgotten: bool = False  # Redis was lost since then
    fading: bool = False  # kept long enough: its objects go, then its record
    generation: int = 1
    holder: str | None = None
    lease_until: float = 0.0
    starts: int = 0
    spent: Counter[Release] = field(default_factory=Counter)
    ends: list[Status] = field(default_factory=list)
    ended: bool = False
    final: Job | None = None  # as it was seen when it had ended
    letters: dict[str, str] = field(default_factory=dict)  # deliveries with their event ids
    heard: set[str] = field(default_factory=set)  # event ids that reached the receiver

    def __post_init__(self) -> None:
        self.asked_at = self.created_at

    @property
    def shown(self) -> str:
        """The key of the result that everyone sees."""
        result = self.final and self.final.result
        return str(result["image"]["key"]) if result else ""

    @property
    def tenant(self) -> str:
        return self.client.tenant


class Ledger:
    def __init__(self, clock: Clock, lease_s: float, deadline_s: float) -> None:
        self._clock, self._lease_s, self._deadline_s = clock, lease_s, deadline_s
        self.stories: dict[str, Story] = {}
        self.tally: Counter[str] = Counter()

    @property
    def left(self) -> list[Story]:
        return [story for story in self.stories.values() if not story.erased]

    def lost(self, found: Mapping[str, Job]) -> None:
        """Redis was lost; ``found`` is what came back."""
        self.tally["times that Redis was lost"] += 1
        for story in self.left:
            job = found.get(story.job_id)
            over = story.ended or story.fading or not story.accepted
            require(job or over, Promise.REBUILT, f"{story.job_id} is lost")
            self.tally["jobs that came back"] += job is not None
            story.forgotten = True
            story.holder = None
            if job is None:
                story.erased = True
            else:
                fading = story.fading  # whoever is erasing it goes on
                story.ends.clear()  # what told of them went with Redis
                story.generation, story.ended = job.generation - 1, True
                self.retried(story, job.created_at)
                story.fading = fading

    # --- the API's side ---------------------------------------------------------------------

    def created(self, job_id: str, client: Client, at: float | None = None) -> None:
        if job_id in self.stories:
            return  # somebody was faster, and brought it back from its manifest
        since = self._clock.now - DAY_S  # a key is remembered for a day
        others = [
            story.job_id
            for story in self.stories.values()
            if client.keyed and story.client is client and story.asked_at > since
            if not story.forgotten
        ]
        require(not others, Promise.ONCE, [*others, job_id])
        self.stories[job_id] = Story(job_id, client, self._clock.now if at is None else at)

    def accepted(self, job_id: str) -> None:
        require(job_id in self.stories, Promise.KEPT, f"{job_id} was answered and never made")
        self.stories[job_id].accepted = True
        self.stories[job_id].client.answered = True

    def retried(self, story: Story, at: float | None = None) -> None:
        require(story.ended, Promise.STAYS, f"{story.job_id} was retried before it ended")
        story.generation += 1
        self.tally["retries"] += 1
        story.starts = 0
        story.spent.clear()
        story.ended, story.final = False, None
        story.canceled = story.fading = False
        story.ends = story.ends[: story.generation - 1]
        story.created_at = self._clock.now if at is None else at

    def erased(self, story: Story) -> None:
        self.tally["jobs erased"] += 1
        story.erased = True
        story.holder = None

    # --- the worker's side ------------------------------------------------------------------

    def heard(self, job_id: str) -> Story:
        require(job_id in self.stories, Promise.KNOWN, job_id)
        return self.stories[job_id]

    def granted(self, claim: Claim) -> Story:
        story = self.stories[claim.job.id]
        require(not story.erased, Promise.STAYS, f"{story.job_id} was erased and runs")
        require(not story.ended, Promise.STAYS, f"{story.job_id} has ended and runs")
        require(not story.holder, Promise.ALONE, f"{story.job_id} while {story.holder} holds it")
        story.holder, story.lease_until = claim.token, self._clock.now + self._lease_s
        story.starts += 1
        self.tally["starts"] += 1
        self.tally["starts again"] += story.starts > 1
        self.tally["starts alone"] += claim.suspect
        require(
            claim.job.attempt == story.starts,
            Promise.COUNTED,
            f"{story.job_id} says {claim.job.attempt}, was started {story.starts} times",
        )
        free_starts = story.spent[Release.DRAIN]
        require(story.starts - free_starts <= MAX_STARTS, Promise.CAPPED, story)
        return story

    def answered(self, job_id: str, token: str, answer: Beat) -> None:
        """Hear what a worker is told when it beats."""
        story = self.stories[job_id]
        if story.holder != token:
            self.tally["zombies that beat"] += 1
            require(answer is Beat.FENCED, Promise.FENCED, f"{job_id} goes on for {token}")
            return
        require(answer is not Beat.FENCED, Promise.LEASED, f"{job_id} was taken from {token}")
        require((answer is Beat.CANCEL) == story.canceled, Promise.CANCELED, story)

    def prolonged(self, job_id: str, token: str, answer: Beat) -> None:
        self.answered(job_id, token, answer)
        if answer is not Beat.FENCED:
            self.stories[job_id].lease_until = self._clock.now + self._lease_s

    def finished(self, job_id: str, token: str, *, won: bool) -> None:
        story = self.stories[job_id]
        if story.holder != token:
            self.tally["zombies that finish"] += 1
            known = won and token in story.shown  # brought back as it had ended, under this token
            require(known or not won, Promise.FENCED, f"{job_id} was ended by {token}")
            return
        require(won, Promise.LEASED, f"{job_id} was taken from {token}")
        story.holder, story.ended = None, True

    def released(self, job_id: str, token: str, reason: Release, answer: Status | None) -> None:
        story = self.stories[job_id]
        if story.holder != token:
            self.tally["zombies that give back"] += 1
            require(answer is None, Promise.FENCED, f"{job_id} was given back by {token}")
            return
        require(answer is not None, Promise.LEASED, f"{job_id} was taken from {token}")
        self._given_back(story, reason, answer)

    # --- the notifier's side ----------------------------------------------------------------

    def reaped(self, job_id: str, status: Status) -> None:
        self.tally["jobs reaped"] += 1
        story, now = self.stories[job_id], self._clock.now
        late = now >= story.created_at + self._deadline_s
        silent = story.holder is not None and now >= story.lease_until
        require(late or silent, Promise.LEASED, f"{job_id} was reaped too early")
        self._given_back(story, Release.LOST, status)

    def received(self, job_id: str, event_id: str) -> None:
        """Note an event that reached its receiver."""
        self.tally["events that arrive"] += 1
        self.tally["events that arrive again"] += event_id in self.stories[job_id].heard
        self.stories[job_id].heard.add(event_id)

    def _given_back(self, story: Story, reason: Release, status: Status | None) -> None:
        story.holder = None
        if status is not Status.QUEUED:
            story.ended = True
            return
        story.spent[reason] += 1
        require(not story.canceled, Promise.CANCELED, story)
        require(story.spent[reason] <= RELEASE_BUDGET[reason], Promise.CAPPED, story)
