"""Jobs in the states that tests need, and their deliveries."""

from __future__ import annotations

from typing import Any

from redis import Redis

from shared.jobs.job import TERMINAL_EVENT, Job, Priority, Status, new_id
from shared.jobs.record import NewJob, Outcome
from shared.jobs.store import JobStore
from shared.manifests.manifests import Manifests
from shared.storage.bucket import ObjectStorage
from shared.storage.keys import input_key
from shared.webhooks.outbox import Outbox

TENANT = "acme"
MODEL = "facemend-starter"


def new_job(**fields: object) -> NewJob:
    """Return a job as the API creates it, in a queue of its own, with ``fields`` changed."""
    job_id = fields.get("id") or new_id("job")
    plain: dict[str, object] = {
        "id": job_id,
        "tenant": TENANT,
        "key_id": "key_1",
        "model": job_id,  # a claim starts the next job of a queue
        "priority": Priority.NORMAL,
        "request": {"metadata": {}},
        "source": {"key": input_key(TENANT, str(job_id)), "etag": "e"},
    }
    return NewJob(**(plain | fields))  # type: ignore[arg-type]


def write_manifest(storage: ObjectStorage, job: Job) -> None:
    """Write the manifest that the API would have written for a job."""
    names = ("id", "tenant", "model", "priority", "request", "source")
    Manifests(storage).write(new_job(**{name: getattr(job, name) for name in names}))


def queue_job(store: JobStore, url: str | None = None) -> str:
    """Queue a job, with a webhook to ``url`` if there is one. Return its id."""
    new = new_job(
        model=MODEL,
        request={"metadata": {"album": "Großeltern"}},
        webhook={"url": url, "events": list(TERMINAL_EVENT.values())} if url else None,
    )
    return store.create(new).id


def end_job(store: JobStore, url: str | None = None, status: Status = Status.FAILED) -> str:
    """Queue a job and end it, with a webhook to ``url`` if there is one. Return its id."""
    job_id = queue_job(store, url)
    claim = store.runs.claim(job_id, "worker-1")
    assert claim
    assert store.runs.finish(job_id, claim.token, Outcome(status))
    return job_id


def expire_job(redis: Redis, store: JobStore, job_id: str) -> bool:
    """Remove the record of an ended job as a notifier does, once the job was kept long enough."""
    redis.zadd("fm:expiry", {job_id: 0}, xx=True)
    store.claim_expired()
    return store.expire(TENANT, job_id)


def only_delivery(outbox: Outbox, job_id: str) -> dict[str, Any]:
    """Return the one delivery of a job, with its log."""
    (delivery,) = outbox.of_job(TENANT, job_id)
    return delivery


def make_due(redis: Redis) -> None:
    """Make all deliveries due now, also those that a sender has taken."""
    for lane in redis.zrange("fm:deliveries", 0, -1):
        redis.zadd("fm:deliveries", {lane: 0})
        for delivery_id in redis.zrange(f"fm:lane:{lane}", 0, -1):
            redis.zadd(f"fm:lane:{lane}", {delivery_id: 0})
