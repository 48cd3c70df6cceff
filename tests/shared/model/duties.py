"""The notifier's part in a story: bells, silent workers, webhooks, what was kept long enough."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from shared.jobs.store import Delivery, DueJob
from shared.storage.keys import job_prefixes
from shared.webhooks.outbox import Went
from tests.shared.model.caller import Caller
from tests.shared.model.promises import Promise, require

if TYPE_CHECKING:
    from tests.shared.model.world import World

SENDING_LEASE_S = 45.0
TRIES = 10


class Dispatch(Caller):
    """A dispatcher's round."""

    def __init__(self, world: World) -> None:
        super().__init__(world, ("due",))
        self.due_jobs: deque[DueJob] = deque()

    def due(self) -> None:
        self.due_jobs.extend(self.world.store.due())
        self.todo.extend(["ring"] * len(self.due_jobs))

    def ring(self) -> None:
        job = self.due_jobs.popleft()
        self.world.bells.ring(job.id, job.model, job.priority)


class Reaping(Caller):
    """A reaper's round."""

    def __init__(self, world: World) -> None:
        super().__init__(world, ("reap",))

    def reap(self) -> None:
        for job_id, status in self.world.store.reap():
            self.world.ledger.reaped(job_id, status)


class Courier(Caller):
    """One webhook. ``fate``: delivered, down, or heard by a receiver whose answer is lost."""

    def __init__(self, world: World, fate: str) -> None:
        super().__init__(world, world.orders.delivery)
        self.fate = fate
        self.delivery: Delivery | None = None

    def take(self) -> None:
        taken = self.world.store.outbox.take(1, SENDING_LEASE_S)
        if taken:
            (self.delivery,) = taken
        else:
            self.todo.clear()

    def send(self) -> None:
        assert self.delivery
        if self.fate != "down" and not self.delivery.disabled:
            self.world.ledger.received(self.delivery.job_id, self.delivery.event_id)

    def note(self) -> None:
        assert self.delivery
        well = self.fate == "delivered" and not self.delivery.disabled
        went = Went.DELIVERED if well else Went.FAILED
        delay_s = None if self.delivery.attempt == TRIES or self.delivery.disabled else 300.0
        self.world.store.outbox.note(self.delivery, went, {}, delay_s)


class Expiry(Caller):
    """The erasing of one job that was kept long enough."""

    def __init__(self, world: World) -> None:
        super().__init__(world, world.orders.expiry)

    def expired(self) -> None:
        found = self.world.store.expired(1)
        if not found:
            self.todo.clear()
            return
        self.job = found[0]
        story = self.world.ledger.stories[self.job.id]
        require(story.ended, Promise.KEPT, f"{self.job.id} expires before it ended")
        story.fading = True

    def objects(self) -> None:
        for prefix in job_prefixes(self.job.tenant, self.job.id):
            self.world.shelf.delete(found.key for found in [*self.world.shelf.list(prefix)])

    def record(self) -> None:
        story = self.world.ledger.stories[self.job.id]
        if self.world.store.expire(self.job.tenant, self.job.id):
            self.world.ledger.erased(story)
