"""Jobs in the states that tests need them in, and the way to wait for what comes of them."""

from __future__ import annotations

from typing import Any

from redis import Redis

from shared.jobs.job import TERMINAL_EVENT, Job, Priority, Status, new_id
from shared.jobs.store import JobStore, NewJob, Outcome
from shared.manifests.manifests import Manifests
from shared.storage.bucket import ObjectStorage
from shared.storage.keys import input_key

TENANT = "acme"
MODEL = "facemend-starter"


def new_job(**fields: object) -> NewJob:
    """A job as the API asks for it; ``fields`` win over a plain one in a queue of its own."""
    job_id = fields.get("id") or new_id("job")
    plain: dict[str, object] = {
        "id": job_id,
        "tenant": TENANT,
        "key_id": "key_1",
        "model": job_id,  # a claim takes whoever is next in a queue
        "priority": Priority.NORMAL,
        "request": {"metadata": {}},
        "source": {"key": input_key(TENANT, str(job_id)), "etag": "e"},
    }
    return NewJob(**(plain | fields))  # type: ignore[arg-type]


def promise(storage: ObjectStorage, job: Job) -> None:
    """Write the manifest that the API would have left of a job."""
    names = ("id", "tenant", "model", "priority", "request", "source")
    Manifests(storage).write(new_job(**{name: getattr(job, name) for name in names}))


def take(store: JobStore, url: str | None = None) -> str:
    """Put a job into the queue; ``url`` wants to hear how it ends."""
    new = new_job(
        model=MODEL,
        request={"metadata": {"album": "Großeltern"}},
        webhook={"url": url, "events": list(TERMINAL_EVENT.values())} if url else None,
    )
    return store.create(new).id


def finish(store: JobStore, url: str | None = None, status: Status = Status.FAILED) -> str:
    """Bring a job to its end; ``url`` wants to hear of it."""
    job_id = take(store, url)
    claim = store.claim(job_id, "worker-1")
    assert claim
    assert store.finish(job_id, claim.token, Outcome(status))
    return job_id


def only_delivery(store: JobStore, job_id: str) -> dict[str, Any]:
    """The job's one delivery, with its log."""
    (delivery,) = store.deliveries(TENANT, job_id)
    return delivery


def make_due(redis: Redis) -> None:
    """Let the time pass that deliveries wait for their next try, or for a dead sender."""
    for lane in redis.zrange("fm:deliveries", 0, -1):
        redis.zadd("fm:deliveries", {lane: 0})
        for delivery_id in redis.zrange(f"fm:lane:{lane}", 0, -1):
            redis.zadd(f"fm:lane:{lane}", {delivery_id: 0})
