"""Requests of clients to the API: submit a photo, retry a job, erase a job."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from shared.errors import Conflict, IdempotencyInProgress, NotFound, QueueFull
from shared.jobs.job import TERMINAL_EVENT, Priority
from shared.jobs.queues import QueueName
from shared.jobs.record import NewJob
from shared.storage.keys import input_key, job_prefixes
from tests.shared.model.caller import MODEL, Caller
from tests.shared.model.ledger import Client, JobHistory

if TYPE_CHECKING:
    from tests.shared.model.world import World
KEY_ID = "key_1"
FINGERPRINT = "the same photo"


class Submission(Caller):
    """One request to the API."""

    def __init__(self, world: World, client: Client) -> None:
        super().__init__(world, world.step_orders.submission)
        self.client = client
        self.job_id = world.new_id()
        world.requested[self.job_id] = client

    def reserve(self) -> None:
        if not self.client.keyed:
            return
        try:
            first = self.world.store.idempotency.begin(KEY_ID, self.client.key, FINGERPRINT)
        except IdempotencyInProgress:
            self.todo.clear()
            return
        if first is not None:
            self.world.ledger.accepted(first.job_id)
            self.todo.clear()

    def upload(self) -> None:
        self.world.storage.put(input_key(self.client.tenant, self.job_id), b"photo", "image/png")

    def manifest(self) -> None:
        self.world.manifests.write(_new_job(self.client, self.job_id))

    def create(self) -> None:
        try:
            self.world.store.create(_new_job(self.client, self.job_id), message=self.job_id)
        except QueueFull:
            self.todo = deque(["clean", "abandon"])
        except IdempotencyInProgress:
            self.todo = deque(["clean"])
        except Conflict:
            self.todo = deque(["abandon"])
        else:
            self.world.ledger.created(self.job_id, self.client)

    def ring(self) -> None:
        """Only a mutant does this step: ``create`` rings itself."""
        self.world.doorbells.ring(self.job_id, QueueName(MODEL, Priority(self.client.priority)))

    def respond(self) -> None:
        self.world.ledger.accepted(self.job_id)

    def clean(self) -> None:
        self.world.manifests.remove(self.client.tenant, self.job_id)
        self.world.storage.delete([input_key(self.client.tenant, self.job_id)])

    def abandon(self) -> None:
        if self.client.keyed:
            self.world.store.idempotency.abandon(KEY_ID, self.client.key)


class RetryRequest(Caller):
    """A client retries a job."""

    def __init__(self, world: World, history: JobHistory) -> None:
        super().__init__(world, world.step_orders.retry)
        self.history = history

    def read(self) -> None:
        try:
            self.job = self.world.store.get(self.history.tenant, self.history.job_id)
        except NotFound:
            self.todo.clear()
            return
        if not [*self.world.storage.list(self.job.source["key"])]:
            self.todo.clear()  # 422: the photo is gone

    def manifest(self) -> None:
        new = _new_job(self.history.client, self.history.job_id)
        self.world.manifests.write(new, self.job.generation + 1)

    def retry(self) -> None:
        try:
            self.world.store.retry(
                self.history.tenant, self.history.job_id, self.job.generation, message=self.job.id
            )
        except QueueFull:
            self.todo = deque(["remove_manifest"])
        except (Conflict, NotFound):
            self.todo.clear()  # the manifest may belong to another request, which came first
        else:
            self.world.ledger.retried(self.history)

    def remove_manifest(self) -> None:
        self.world.manifests.remove(self.job.tenant, self.job.id, self.job.generation + 1)


class ErasureRequest(Caller):
    """A client erases a job in any state."""

    def __init__(self, world: World, history: JobHistory) -> None:
        super().__init__(world, world.step_orders.erasure)
        self.history = history

    def cancel(self) -> None:
        try:
            self.world.store.cancel(self.history.tenant, self.history.job_id)
        except NotFound:
            self.todo.clear()
        except Conflict:
            return
        else:
            self.history.canceled = True

    def delete_objects(self) -> None:
        self.history.being_erased = True
        for prefix in job_prefixes(self.history.tenant, self.history.job_id):
            self.world.storage.delete(found.key for found in [*self.world.storage.list(prefix)])

    def remove_manifest(self) -> None:
        self.world.manifests.remove_all(self.history.tenant, self.history.job_id)

    def delete_record(self) -> None:
        self.world.store.erase(self.history.tenant, self.history.job_id)
        self.world.ledger.erased(self.history)


def _new_job(client: Client, job_id: str) -> NewJob:
    hook = {"url": "http://127.0.0.1:9/", "events": [*TERMINAL_EVENT.values()]}
    return NewJob(
        id=job_id,
        tenant=client.tenant,
        key_id=KEY_ID,
        model=MODEL,
        priority=Priority(client.priority),
        request={"metadata": {}},
        source={"key": input_key(client.tenant, job_id), "etag": "e"},
        webhook=hook if client.wants_events else None,
        idempotency_key=client.key if client.keyed else None,
        idempotency_fingerprint=FINGERPRINT if client.keyed else None,
    )
