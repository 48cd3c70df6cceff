"""The same request, sent twice or sixteen times, makes one job."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from redis import Redis

from shared.errors import FacemendError, IdempotencyInProgress, IdempotencyMismatch
from shared.jobs.idempotency import RESERVED_S, reservation_key
from shared.jobs.store import JobStore, NewJob
from tests.shared.conftest import at_once

NewJobs = Callable[..., NewJob]


def test_the_first_goes_on_and_the_second_waits(store: JobStore) -> None:
    assert store.begin_idempotent("key_1", "order-7", "body") is None
    with pytest.raises(IdempotencyInProgress):
        store.begin_idempotent("key_1", "order-7", "body")


def test_after_the_job_is_made_the_same_request_is_told_its_name(
    store: JobStore, new_job: NewJobs
) -> None:
    store.begin_idempotent("key_1", "order-7", "body")
    job = store.create(new_job(idempotency_key="order-7", idempotency_fingerprint="body"))
    assert store.begin_idempotent("key_1", "order-7", "body") == job.id


def test_another_body_under_the_same_key_is_refused(store: JobStore, new_job: NewJobs) -> None:
    store.begin_idempotent("key_1", "order-7", "body")
    with pytest.raises(IdempotencyMismatch):
        store.begin_idempotent("key_1", "order-7", "other")
    store.create(new_job(idempotency_key="order-7"))
    with pytest.raises(IdempotencyMismatch):
        store.begin_idempotent("key_1", "order-7", "other")


def test_another_api_key_has_its_own_names(store: JobStore) -> None:
    store.begin_idempotent("key_1", "order-7", "body")
    assert store.begin_idempotent("key_2", "order-7", "other") is None


def test_of_sixteen_at_once_one_makes_the_job(store: JobStore, new_job: NewJobs) -> None:
    def submit(_: int) -> str:
        try:
            known = store.begin_idempotent("key_1", "order-7", "body")
        except IdempotencyInProgress:
            return "in progress"
        if known:
            return known
        new = new_job(idempotency_key="order-7", idempotency_fingerprint="body")
        return store.create(new).id

    answers = set(at_once(16, submit)) - {"in progress"}
    assert len(answers) == 1
    jobs, _ = store.list("acme")
    assert {job.id for job in jobs} == answers


def test_a_reservation_given_back_is_free(store: JobStore) -> None:
    store.begin_idempotent("key_1", "order-7", "body")
    store.abandon_idempotent("key_1", "order-7")
    assert store.begin_idempotent("key_1", "order-7", "other") is None


def test_a_key_that_stands_for_a_job_is_not_given_back(store: JobStore, new_job: NewJobs) -> None:
    store.begin_idempotent("key_1", "order-7", "body")
    job = store.create(new_job(idempotency_key="order-7"))
    store.abandon_idempotent("key_1", "order-7")
    assert store.begin_idempotent("key_1", "order-7", "body") == job.id


def test_a_reservation_ends_soon_and_a_job_is_remembered_for_a_day(
    store: JobStore, new_job: NewJobs, redis: Redis
) -> None:
    store.begin_idempotent("key_1", "order-7", "body")
    name = reservation_key("key_1", "order-7")
    assert 0 < redis.ttl(name) <= RESERVED_S
    store.create(new_job(idempotency_key="order-7"))
    assert RESERVED_S < redis.ttl(name) <= 86_400


@pytest.mark.parametrize("lost", ["ended", "taken by another body", "bound to another job"])
def test_a_request_that_lost_its_reservation_makes_no_job(
    store: JobStore, new_job: NewJobs, redis: Redis, lost: str
) -> None:
    store.begin_idempotent("key_1", "order-7", "body")
    redis.delete(reservation_key("key_1", "order-7"))
    if lost != "ended":
        body = "other" if "body" in lost else "body"
        store.begin_idempotent("key_1", "order-7", body)
    made = 0
    if lost == "bound to another job":
        store.create(new_job(idempotency_key="order-7", idempotency_fingerprint="body"))
        made = 1
    with pytest.raises(IdempotencyInProgress):
        store.create(new_job(idempotency_key="order-7", idempotency_fingerprint="body"))
    assert store.counts()["queued"] == made


@pytest.mark.parametrize("key", ["x" * 255, "schlüssel", "a:b:c", "\ud800", "*"])
def test_whatever_a_customer_chose_stays_one_short_name(store: JobStore, key: str) -> None:
    assert len(reservation_key("key_1", key)) < 80
    assert store.begin_idempotent("key_1", key, "body") is None
    with pytest.raises(FacemendError):
        store.begin_idempotent("key_1", key, "body")
