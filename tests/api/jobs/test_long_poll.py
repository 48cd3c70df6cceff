from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import pytest

from api import Services
from api.jobs.long_poll import preferred_wait_s, wait_until_terminal
from shared.jobs.job import Job, Priority
from shared.jobs.store import JobStore, NewJob

AGES = 3600.0  # nobody would see the end of a test that really waits


@pytest.fixture
def queued(store: JobStore) -> Job:
    job_id = "job_" + "a" * 32
    return store.create(NewJob(job_id, "acme", "key_1", "m", Priority.NORMAL, {}, {"key": "k"}))


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("", None),
        ("wait=10", 10),
        ('wait="10"', 10),
        ("WAIT = 10", 10),
        ("respond-async, wait=10", 10),
        ("respond-async, wait=10;x=1", 10),
        ("return=minimal", None),
        ("wait", None),
        ("wait=soon", None),
        ("wait=-1", None),
        ("wait=1.5", None),
        ("await=10", None),
        ("wait=99999999999999999999", None),
    ],
)
def test_the_preference_is_read_as_rfc_7240_writes_it(header: str, expected: int | None) -> None:
    assert preferred_wait_s(header) == expected


def test_it_waits_no_longer_than_the_settings_allow(services: Services, queued: Job) -> None:
    brief = dataclasses.replace(
        services, settings=services.settings.model_copy(update={"max_wait_s": 1})
    )
    assert wait_until_terminal(queued, AGES, brief).status == "queued"


def test_a_draining_process_lets_everyone_go(services: Services, queued: Job) -> None:
    services.draining.set()
    assert wait_until_terminal(queued, 60, services) == queued


def test_when_all_places_are_taken_nobody_waits(services: Services, queued: Job) -> None:
    while services.waiting_places.acquire(blocking=False):
        pass
    assert wait_until_terminal(queued, 60, services) is queued


def test_places_are_given_back(
    services: Services, queued: Job, succeed: Callable[[str, str], Job]
) -> None:
    settings = services.settings.model_copy(update={"api_threads": 1})
    narrow = dataclasses.replace(services, settings=settings)
    succeed("acme", queued.id)
    for _ in range(3):
        assert wait_until_terminal(queued, 60, narrow).status == "succeeded"


def test_some_threads_are_never_given_to_waiting(services: Services) -> None:
    places = 0
    while services.waiting_places.acquire(blocking=False):
        places += 1
    assert 0 < places < services.settings.api_threads


def test_a_place_is_given_back_after_an_error(services: Services, queued: Job, redis: Any) -> None:
    from shared.errors import NotFound

    redis.flushdb()
    for _ in range(services.settings.api_threads + 1):
        with pytest.raises(NotFound):
            wait_until_terminal(queued, 60, services)
