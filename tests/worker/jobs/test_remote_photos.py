"""Photos at URLs: their servers may be slow, and must not keep the device from others."""

from __future__ import annotations

import itertools
import socket
import threading
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import pytest
from redis import Redis

from shared.jobs.job import Job, Status
from shared.jobs.store import JobStore
from tests.origin import Origin, http
from tests.waiting import eventually
from worker.jobs.runner import JobRunner

if TYPE_CHECKING:
    from tests.worker.scripted import ScriptedRestorer

Submit = Callable[..., Job]
HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: 9000\r\n\r\n"


@pytest.fixture
def origin(png: bytes) -> Iterator[Origin]:
    """``/photo.png`` arrives at once, ``/slow.png`` never; the others are errors."""
    server = Origin()
    server.answers["/photo.png"] = http("200 OK", png)
    server.answers["/slow.png"] = lambda: itertools.chain([HEAD], server.drip())
    server.answers["/busy.png"] = http("503 Service Unavailable")
    server.answers["/gone.png"] = http("410 Gone")
    yield server
    server.close()


@pytest.fixture
def submit_url(submit: Submit, origin: Origin) -> Callable[[str], Job]:
    return lambda path: submit(source={"url": origin.url(path)})


@pytest.fixture(autouse=True)
def no_job_is_left(worker: JobRunner) -> Iterator[None]:
    yield
    worker.drain.begin()
    worker.wait()


def status(store: JobStore, job: Job) -> Status:
    return store.get(job.tenant, job.id).status


def test_a_photo_at_a_url_is_restored(
    worker: JobRunner, submit_url: Callable[[str], Job], store: JobStore
) -> None:
    job = submit_url("/photo.png")
    worker.restore(job.id)
    eventually(lambda: status(store, job) is Status.SUCCEEDED)


def test_slow_photos_leave_the_device_to_others(
    worker: JobRunner, submit_url: Callable[[str], Job], submit: Submit, store: JobStore
) -> None:
    slow = [submit_url("/slow.png") for _ in range(5)]
    stored = submit()
    for job in [*slow, stored]:
        worker.restore(job.id)
    assert status(store, stored) is Status.SUCCEEDED
    states = [status(store, job) for job in slow]
    assert states == [Status.RUNNING] * 2 + [Status.QUEUED] * 3  # two places for each tenant


def test_a_cancel_frees_the_place_for_the_next_photo(
    worker: JobRunner, submit_url: Callable[[str], Job], store: JobStore
) -> None:
    jobs = [submit_url("/slow.png") for _ in range(3)]
    for job in jobs:
        worker.restore(job.id)
    assert status(store, jobs[2]) is Status.QUEUED
    store.cancel(jobs[0].tenant, jobs[0].id)
    eventually(lambda: status(store, jobs[0]) is Status.CANCELED)
    eventually(lambda: status(store, jobs[2]) is Status.RUNNING)  # without another doorbell


def test_many_photos_at_urls_need_no_second_doorbell(
    worker: JobRunner, submit_url: Callable[[str], Job], store: JobStore
) -> None:
    jobs = [submit_url("/photo.png") for _ in range(10)]
    for job in jobs:
        worker.restore(job.id)
    eventually(lambda: all(status(store, job) is Status.SUCCEEDED for job in jobs))


def test_a_fetched_photo_waits_for_the_device(
    *,
    worker: JobRunner,
    submit_url: Callable[[str], Job],
    submit: Submit,
    store: JobStore,
    restorer: ScriptedRestorer,
    origin: Origin,
) -> None:
    go_on = threading.Event()
    restorer.during = lambda: go_on.wait() and None  # type: ignore[func-returns-value]
    remote = submit_url("/photo.png")
    worker.restore(remote.id)
    eventually(lambda: len(restorer.photos) == 1)
    doorbells = [threading.Thread(target=worker.restore, args=(submit().id,)) for _ in range(2)]
    for doorbell in doorbells:
        doorbell.start()
    eventually(lambda: len(restorer.photos) == 2)
    assert len(worker.claims) == 2  # the third has no place, and is not claimed
    go_on.set()
    for doorbell in doorbells:
        doorbell.join()
    eventually(lambda: len(restorer.photos) == 3)


@pytest.mark.parametrize("path", ["/slow.png", "/busy.png", "nobody listens"])
def test_a_slow_busy_or_missing_server_is_tried_twice_at_most(
    *,
    worker: JobRunner,
    submit_url: Callable[[str], Job],
    submit: Submit,
    store: JobStore,
    redis: Redis,
    path: str,
) -> None:
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))
        closed = f"http://127.0.0.1:{reserved.getsockname()[1]}/photo.png"
        job = submit_url(path) if path.startswith("/") else submit(source={"url": closed})
        worker.restore(job.id)
        eventually(lambda: status(store, job) is Status.QUEUED)
        assert redis.zscore("fm:later", job.id) is not None
        redis.zadd("fm:later", {job.id: 0})
        store.runs.due()
        worker.restore(job.id)
        eventually(lambda: status(store, job) is Status.FAILED)
    failed = store.get(job.tenant, job.id)
    assert failed.error is not None
    assert (failed.error["code"], failed.error["retryable"]) == ("input-timeout", True)
    assert failed.attempt == 2


def test_a_photo_that_its_server_does_not_have_is_asked_for_once(
    worker: JobRunner, submit_url: Callable[[str], Job], store: JobStore
) -> None:
    job = submit_url("/gone.png")
    worker.restore(job.id)
    eventually(lambda: status(store, job) is Status.FAILED)
    failed = store.get(job.tenant, job.id)
    assert failed.error is not None
    assert (failed.error["code"], failed.attempt) == ("input-not-found", 1)


def test_a_draining_worker_releases_a_job_that_waits_for_its_photo(
    worker: JobRunner, submit_url: Callable[[str], Job], store: JobStore
) -> None:
    job = submit_url("/slow.png")
    worker.restore(job.id)
    worker.drain.begin()
    worker.wait()
    assert status(store, job) is Status.QUEUED
    assert worker.claims == {}
