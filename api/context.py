"""What the API stands on, wired once at the edge and passed in."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import Any, Self, cast

from flask import current_app

from api.request_storage import PatientStorage
from shared.jobs.store import JobStore
from shared.manifests.manifests import Manifests
from shared.queue.celery_queue import Doorbell, make_celery
from shared.redis.client import connect
from shared.redis.request_deadline import Patience
from shared.settings import Settings
from shared.storage.bucket import ObjectStorage
from shared.tenants.api_keys import KeyRing
from shared.tenants.rate_limit import RateLimiter
from shared.tenants.usage import UsageBook

_EXTENSION = "facemend"
#: Threads that stay free for requests that do not wait.
_THREADS_KEPT_FREE = 2


@dataclass(frozen=True)
class Services:
    """The composition root of the API: everything a request may need."""

    settings: Settings
    store: JobStore
    keys: KeyRing
    rates: RateLimiter
    usage: UsageBook
    storage: ObjectStorage
    manifests: Manifests = field(init=False)
    doorbell: Doorbell
    #: Set while the process drains: long polls answer at once, streams end.
    draining: threading.Event = field(default_factory=threading.Event)
    #: What each request may wait for Redis and S3.
    patience: Patience = field(init=False)
    #: One is held by each request that waits for a job, so that waiting never takes all threads.
    waiting_places: threading.BoundedSemaphore = field(init=False)
    #: Held beside the first by each stream, so that streams never take all places to wait.
    streaming_places: threading.BoundedSemaphore = field(init=False)

    def __post_init__(self) -> None:
        places = max(1, self.settings.api_threads - _THREADS_KEPT_FREE)
        streams = (places + 1) // 2
        object.__setattr__(self, "manifests", Manifests(self.storage))
        object.__setattr__(self, "patience", Patience(self.settings.api_timeout_s))
        object.__setattr__(self, "waiting_places", threading.BoundedSemaphore(places))
        object.__setattr__(self, "streaming_places", threading.BoundedSemaphore(streams))

    @classmethod
    def connect(cls, settings: Settings) -> Self:
        """Wire everything to what the settings name; connects at the first request."""
        redis = connect(settings)
        return cls(
            settings=settings,
            store=JobStore(redis, settings),
            keys=KeyRing(redis, settings.api_key_pepper),
            rates=RateLimiter(settings),
            usage=UsageBook(redis),
            storage=PatientStorage(settings),
            doorbell=Doorbell(make_celery(settings, role="api")),
        )


def bind(app_extensions: dict[str, Any], found: Services) -> None:
    """Make the services findable by the requests of one application."""
    app_extensions[_EXTENSION] = found


def services() -> Services:
    """The services of the application that answers the current request."""
    return cast(Services, current_app.extensions[_EXTENSION])
