"""The services that requests use, built once by ``Services.connect`` and passed in."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import Any, Self, cast

from flask import current_app
from redis import Redis

from api.request_storage import RequestStorage
from api.slots import Slots
from shared.batches.store import BatchStore
from shared.jobs.pools import Pools
from shared.jobs.store import JobStore
from shared.manifests.batches import BatchManifests
from shared.manifests.manifests import Manifests
from shared.queue.celery_queue import Doorbell, make_celery
from shared.redis.client import connect
from shared.redis.request_deadline import RequestDeadline
from shared.redis.scripts import Scripts
from shared.settings import Settings
from shared.storage.bucket import Storage
from shared.tenants.api_keys import KeyRing
from shared.tenants.rate_limit import RateLimiter
from shared.tenants.usage import UsageBook
from shared.webhooks.outbox import Outbox

_EXTENSION = "facemend"
#: Requests that wait for a job, and event streams, in one process. They hold no thread.
_MAX_WAITS, _MAX_STREAMS = 2_000, 2_000


@dataclass(frozen=True)
class Services:
    """Everything that a request may need."""

    settings: Settings
    store: JobStore
    batches: BatchStore
    outbox: Outbox
    keys: KeyRing
    rates: RateLimiter
    usage: UsageBook
    storage: Storage
    manifests: Manifests
    batch_manifests: BatchManifests
    doorbell: Doorbell
    pools: Pools
    #: Limits the time that each request waits for Redis and S3.
    deadline: RequestDeadline
    #: A request that waits for a job holds one, in the name of its tenant.
    waiting_slots: Slots
    #: An event stream holds one, in the name of its tenant.
    streaming_slots: Slots
    #: Set while the process shuts down: long polls return at once, streams end.
    draining: threading.Event

    @classmethod
    def connect(cls, settings: Settings) -> Self:
        """Build the services for ``settings``. They connect at the first request."""
        return cls.build(settings, connect(settings), RequestStorage.connect(settings))

    @classmethod
    def build(cls, settings: Settings, redis: Redis, storage: Storage) -> Self:
        """Build the services on one Redis and one storage."""
        scripts = Scripts(redis)
        return cls(
            settings=settings,
            store=JobStore(scripts, settings),
            batches=BatchStore(scripts, settings),
            outbox=Outbox(scripts),
            keys=KeyRing(scripts, settings.api_key_pepper),
            rates=RateLimiter(settings),
            usage=UsageBook(scripts),
            storage=storage,
            manifests=Manifests(storage),
            batch_manifests=BatchManifests(storage),
            doorbell=Doorbell(make_celery(settings, role="api")),
            pools=Pools(settings.model_pools),
            deadline=RequestDeadline(settings.api_timeout_s),
            waiting_slots=Slots(_MAX_WAITS, _MAX_WAITS // 2),
            streaming_slots=Slots(_MAX_STREAMS, _MAX_STREAMS // 2),
            draining=threading.Event(),
        )


def bind(app_extensions: dict[str, Any], services: Services) -> None:
    """Make the services available to the requests of one application."""
    app_extensions[_EXTENSION] = services


def current_services() -> Services:
    """Return the services of the application that handles the current request."""
    return cast(Services, current_app.extensions[_EXTENSION])
