"""The notifier: doorbells, silent workers, webhooks, and jobs that were kept long enough."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from shared.jobs.runs import DueJob
from shared.storage.keys import job_prefixes
from shared.webhooks.outbox import AttemptResult, Delivery
from tests.shared.model.caller import Caller
from tests.shared.model.guarantees import Guarantee, require

if TYPE_CHECKING:
    from tests.shared.model.world import World

SENDING_LEASE_S = 45.0
TRIES = 10


class Dispatcher(Caller):
    """One round of the dispatcher."""

    def __init__(self, world: World) -> None:
        super().__init__(world, ("due",))
        self.due_jobs: deque[DueJob] = deque()

    def due(self) -> None:
        self.due_jobs.extend(self.world.store.runs.due())
        self.todo.extend(["ring"] * len(self.due_jobs))

    def ring(self) -> None:
        job = self.due_jobs.popleft()
        self.world.doorbells.ring(job.id, job.queue)


class Reaper(Caller):
    """One round of the reaper."""

    def __init__(self, world: World) -> None:
        super().__init__(world, ("reap",))

    def reap(self) -> None:
        for job_id, status in self.world.store.runs.reap():
            self.world.ledger.reaped(job_id, status)


class WebhookDelivery(Caller):
    """One webhook. ``fate``: delivered, down, or received, but the response is lost."""

    def __init__(self, world: World, fate: str) -> None:
        super().__init__(world, world.step_orders.delivery)
        self.fate = fate
        self.delivery: Delivery | None = None

    def take(self) -> None:
        taken = self.world.outbox.take(1, SENDING_LEASE_S)
        if taken:
            (self.delivery,) = taken
        else:
            self.todo.clear()

    def send(self) -> None:
        assert self.delivery
        if self.fate != "down" and not self.delivery.disabled:
            self.world.ledger.received(self.delivery.job_id, self.delivery.event_id)

    def record_attempt(self) -> None:
        assert self.delivery
        well = self.fate == "delivered" and not self.delivery.disabled
        went = AttemptResult.DELIVERED if well else AttemptResult.FAILED
        delay_s = None if self.delivery.attempt == TRIES or self.delivery.disabled else 300.0
        self.world.outbox.record_attempt(self.delivery, went, {}, delay_s)


class Expiry(Caller):
    """Erase one job that was kept long enough."""

    def __init__(self, world: World) -> None:
        super().__init__(world, world.step_orders.expiry)

    def claim_expired(self) -> None:
        found = self.world.store.claim_expired(1, claim_s=0.0)
        if not found:
            self.todo.clear()
            return
        self.job = found[0]
        history = self.world.ledger.histories[self.job.id]
        require(history.ended, Guarantee.KEPT, f"{self.job.id} expires before it ended")
        history.being_erased = True

    def delete_objects(self) -> None:
        for prefix in job_prefixes(self.job.tenant, self.job.id):
            self.world.storage.delete(found.key for found in [*self.world.storage.list(prefix)])

    def delete_record(self) -> None:
        history = self.world.ledger.histories[self.job.id]
        if self.world.store.expire(self.job.tenant, self.job.id):
            self.world.ledger.erased(history)
