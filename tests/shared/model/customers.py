"""The API's part in a story: a photo is submitted, a job retried, a job erased."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from shared.errors import Conflict, IdempotencyInProgress, NotFound, QueueFull
from shared.jobs.job import TERMINAL_EVENT, Priority
from shared.jobs.store import NewJob
from shared.storage.keys import input_key, job_prefixes
from tests.shared.model.caller import MODEL, Caller
from tests.shared.model.ledger import Client, Story

if TYPE_CHECKING:
    from tests.shared.model.world import World
KEY_ID = "key_1"
FINGERPRINT = "the same photo"


class Submission(Caller):
    """One request to the API."""

    def __init__(self, world: World, client: Client) -> None:
        super().__init__(world, world.orders.submission)
        self.client = client
        self.job_id = world.new_id()
        world.asked[self.job_id] = client

    def reserve(self) -> None:
        if not self.client.keyed:
            return
        try:
            job_id = self.world.store.begin_idempotent(KEY_ID, self.client.key, FINGERPRINT)
        except IdempotencyInProgress:
            self.todo.clear()
            return
        if job_id is not None:
            self.world.ledger.accepted(job_id)
            self.todo.clear()

    def upload(self) -> None:
        self.world.shelf.put(input_key(self.client.tenant, self.job_id), b"photo", "image/png")

    def manifest(self) -> None:
        self.world.manifests.write(_new_job(self.client, self.job_id))

    def create(self) -> None:
        try:
            self.world.store.create(_new_job(self.client, self.job_id), bell=self.job_id)
        except QueueFull:
            self.todo = deque(["clean", "abandon"])
        except IdempotencyInProgress:
            self.todo = deque(["clean"])
        except Conflict:
            self.todo = deque(["abandon"])
        else:
            self.world.ledger.created(self.job_id, self.client)

    def ring(self) -> None:
        """In no order of ours: ``create`` rings. A mistake that must be found."""
        self.world.bells.ring(self.job_id, MODEL, Priority(self.client.priority))

    def answer(self) -> None:
        self.world.ledger.accepted(self.job_id)

    def clean(self) -> None:
        self.world.manifests.remove(self.client.tenant, self.job_id)
        self.world.shelf.delete([input_key(self.client.tenant, self.job_id)])

    def abandon(self) -> None:
        if self.client.keyed:
            self.world.store.abandon_idempotent(KEY_ID, self.client.key)


class Again(Caller):
    """A customer retries a job."""

    def __init__(self, world: World, story: Story) -> None:
        super().__init__(world, world.orders.again)
        self.story = story

    def look(self) -> None:
        try:
            self.job = self.world.store.get(self.story.tenant, self.story.job_id)
        except NotFound:
            self.todo.clear()
            return
        if not [*self.world.shelf.list(self.job.source["key"])]:
            self.todo.clear()  # 422: the photo is gone

    def promise(self) -> None:
        new = _new_job(self.story.client, self.story.job_id)
        self.world.manifests.write(new, self.job.generation + 1)

    def retry(self) -> None:
        try:
            self.world.store.retry(
                self.story.tenant, self.story.job_id, self.job.generation, bell=self.job.id
            )
        except QueueFull:
            self.todo = deque(["break_promise"])
        except (Conflict, NotFound):
            self.todo.clear()  # the promise may be another request's, which came first
        else:
            self.world.ledger.retried(self.story)

    def break_promise(self) -> None:
        self.world.manifests.remove(self.job.tenant, self.job.id, self.job.generation + 1)


class Erasure(Caller):
    """A customer erases a job, whatever it is doing."""

    def __init__(self, world: World, story: Story) -> None:
        super().__init__(world, world.orders.erasure)
        self.story = story

    def cancel(self) -> None:
        try:
            self.world.store.cancel(self.story.tenant, self.story.job_id)
        except NotFound:
            self.todo.clear()
        except Conflict:
            return
        else:
            self.story.canceled = True

    def objects(self) -> None:
        self.story.fading = True
        for prefix in job_prefixes(self.story.tenant, self.story.job_id):
            self.world.shelf.delete(found.key for found in [*self.world.shelf.list(prefix)])

    def break_promise(self) -> None:
        self.world.manifests.remove_all(self.story.tenant, self.story.job_id)

    def record(self) -> None:
        self.world.store.erase(self.story.tenant, self.story.job_id)
        self.world.ledger.erased(self.story)


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
