from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from flask import Flask

from api import Services
from api.jobs.long_poll import JobWait, preferred_wait_s, wait_for_end
from api.slots import Slots
from shared.jobs.job import Job, Priority
from shared.jobs.store import JobStore, NewJob

AGES = 3600.0


@pytest.fixture
def queued(store: JobStore) -> Job:
    job_id = "job_" + "a" * 32
    return store.create(NewJob(job_id, "acme", "key_1", "m", Priority.NORMAL, {}, {"key": "k"}))


def waits(
    app: Flask, job: Job, wait_s: float, services: Services, **environ: Any
) -> JobWait | None:
    """What a view with this job would wait for."""
    with app.test_request_context(**environ):
        response = wait_for_end(job, wait_s, services)
        return None if response is None else response.response  # type: ignore[return-value]


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
def test_the_prefer_header_is_read_as_in_rfc_7240(header: str, expected: int | None) -> None:
    assert preferred_wait_s(header) == expected


def test_a_request_waits_no_longer_than_the_settings_allow(
    app: Flask, services: Services, queued: Job
) -> None:
    wait = waits(app, queued, AGES, services)
    assert wait is not None
    assert wait.wait_s == services.settings.max_wait_s


def test_a_wait_of_zero_returns_at_once(app: Flask, services: Services, queued: Job) -> None:
    assert waits(app, queued, 0, services) is None


def test_a_draining_process_does_not_wait(app: Flask, services: Services, queued: Job) -> None:
    services.draining.set()
    assert waits(app, queued, 60, services) is None


def test_a_second_call_does_not_wait_again(app: Flask, services: Services, queued: Job) -> None:
    wait = waits(app, queued, 60, services)
    assert wait is not None
    environ: dict[str, Any] = {}
    wait.resume(environ)
    assert waits(app, queued, 60, services, environ_overrides=environ) is None


def test_a_head_request_does_not_wait(app: Flask, services: Services, queued: Job) -> None:
    assert waits(app, queued, 60, services, method="HEAD") is None


def test_one_tenant_leaves_slots_for_others(app: Flask, services: Services, queued: Job) -> None:
    narrow = dataclasses.replace(services, waiting_slots=Slots(2, 1))
    other = dataclasses.replace(queued, tenant="other")
    mine = waits(app, queued, 60, narrow)
    assert mine is not None
    assert waits(app, queued, 60, narrow) is None
    assert waits(app, other, 60, narrow) is not None
    mine.close()
    mine.close()  # a second time gives nothing back
    assert waits(app, queued, 60, narrow) is not None
    assert narrow.waiting_slots.taken == 2
