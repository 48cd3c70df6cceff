"""Jobs to put into the store, stores with other settings, and Redis' clock."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import Any, TypeVar

import pytest
from pydantic import SecretStr
from redis import Redis

from shared.jobs.job import TERMINAL_EVENT, Priority, Status, new_id
from shared.jobs.store import Claim, JobStore, NewJob, Outcome
from shared.settings import Settings

T = TypeVar("T")

NewJobs = Callable[..., NewJob]
Stores = Callable[..., JobStore]


@pytest.fixture
def new_job() -> NewJobs:
    """Make a NewJob; keywords win over a plain job of tenant ``acme`` that tells of its end."""

    def make(**fields: Any) -> NewJob:
        plain: dict[str, Any] = {
            "id": new_id("job"),
            "tenant": "acme",
            "key_id": "key_1",
            "model": "starter",
            "priority": Priority.NORMAL,
            "request": {"options": {"faces": [0]}, "metadata": {}},
            "source": {"key": "tenants/acme/inputs/x", "etag": "e"},
            "webhook": {"url": "http://127.0.0.1:9/hook", "events": [*TERMINAL_EVENT.values()]},
        }
        return NewJob(**(plain | fields))

    return make


@pytest.fixture
def store_with(redis: Redis, settings: Settings) -> Stores:
    """A store on the same Redis with some settings changed."""

    def make(**changes: Any) -> JobStore:
        return JobStore(redis, settings.model_copy(update=changes))

    return make


@pytest.fixture
def silent() -> Iterator[str]:
    """An address that takes connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"redis://:secret@127.0.0.1:{server.getsockname()[1]}/0"


@pytest.fixture
def hole() -> Iterator[str]:
    """An address whose queue of connections is full: connecting hangs."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen(0)
        fillers = [socket.socket() for _ in range(4)]
        for filler in fillers:
            filler.setblocking(False)
            filler.connect_ex(server.getsockname())
        yield f"redis://:secret@127.0.0.1:{server.getsockname()[1]}/0"
        for filler in fillers:
            filler.close()


@pytest.fixture
def refused() -> str:
    """An address where nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return f"redis://:secret@127.0.0.1:{server.getsockname()[1]}/0"


DONE = Outcome(
    Status.SUCCEEDED,
    result={"faces": [], "image": {"key": "k"}},
    warnings=("animated",),
    timings_ms={"restore": 12},
)
BROKEN = Outcome(Status.FAILED, error={"code": "corrupt-image"})


def claimed(store: JobStore, new: NewJob) -> Claim:
    store.create(new)
    claim = store.claim(new.id, "w-1")
    assert claim is not None
    return claim


def at_once(count: int, call: Callable[[int], T]) -> list[T]:
    """What ``count`` threads get when they call at the same moment; errors count as answers."""
    barrier = Barrier(count)

    def run(number: int) -> T:
        barrier.wait()
        return call(number)

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(run, range(count)))


def redis_time(redis: Redis) -> float:
    seconds, micros = redis.time()
    return seconds + micros / 1e6


def wait_until(redis: Redis, moment: float) -> None:
    """Until Redis' own clock shows ``moment``."""
    while redis_time(redis) < moment:
        time.sleep(0.005)


def at_url(settings: Settings, redis_url: str) -> Settings:
    """The same settings with another Redis."""
    return settings.model_copy(update={"redis_url": SecretStr(redis_url)})
