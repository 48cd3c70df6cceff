"""The same request, sent twice or sixteen times, makes one job."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from redis import Redis

from shared.errors import FacemendError, IdempotencyInProgress, IdempotencyMismatch
from shared.jobs.idempotency import RESERVED_S, FirstRequest, reservation_key
from shared.jobs.record import NewJob
from shared.jobs.store import JobStore
from tests.shared.conftest import at_once

NewJobs = Callable[..., NewJob]


def test_the_first_request_continues_and_the_second_is_in_progress(store: JobStore) -> None:
    assert store.idempotency.begin("key_1", "order-7", "body") is None
    with pytest.raises(IdempotencyInProgress):
        store.idempotency.begin("key_1", "order-7", "body")


def test_after_the_job_is_made_the_same_request_gets_its_id(
    store: JobStore, new_job: NewJobs
) -> None:
    store.idempotency.begin("key_1", "order-7", "body")
    job = store.create(new_job(idempotency_key="order-7", idempotency_fingerprint="body"))
    assert store.idempotency.begin("key_1", "order-7", "body") == FirstRequest(job.id)


def test_another_body_under_the_same_key_is_refused(store: JobStore, new_job: NewJobs) -> None:
    store.idempotency.begin("key_1", "order-7", "body")
    with pytest.raises(IdempotencyMismatch):
        store.idempotency.begin("key_1", "order-7", "other")
    store.create(new_job(idempotency_key="order-7"))
    with pytest.raises(IdempotencyMismatch):
        store.idempotency.begin("key_1", "order-7", "other")


def test_each_api_key_has_its_own_idempotency_keys(store: JobStore) -> None:
    store.idempotency.begin("key_1", "order-7", "body")
    assert store.idempotency.begin("key_2", "order-7", "other") is None


def test_of_sixteen_requests_at_once_one_makes_the_job(store: JobStore, new_job: NewJobs) -> None:
    def submit(_: int) -> str:
        try:
            known = store.idempotency.begin("key_1", "order-7", "body")
        except IdempotencyInProgress:
            return "in progress"
        if known:
            return known.job_id
        new = new_job(idempotency_key="order-7", idempotency_fingerprint="body")
        return store.create(new).id

    answers = set(at_once(16, submit)) - {"in progress"}
    assert len(answers) == 1
    jobs, _ = store.page("acme")
    assert {job.id for job in jobs} == answers


def test_a_released_reservation_is_free(store: JobStore) -> None:
    store.idempotency.begin("key_1", "order-7", "body")
    store.idempotency.abandon("key_1", "order-7")
    assert store.idempotency.begin("key_1", "order-7", "other") is None


def test_a_key_with_a_job_is_not_released(store: JobStore, new_job: NewJobs) -> None:
    store.idempotency.begin("key_1", "order-7", "body")
    job = store.create(new_job(idempotency_key="order-7"))
    store.idempotency.abandon("key_1", "order-7")
    assert store.idempotency.begin("key_1", "order-7", "body") == FirstRequest(job.id)


def test_a_reservation_ends_soon_and_the_key_of_a_job_is_kept_for_a_day(
    store: JobStore, new_job: NewJobs, redis: Redis
) -> None:
    store.idempotency.begin("key_1", "order-7", "body")
    name = reservation_key("key_1", "order-7")
    assert 0 < redis.ttl(name) <= RESERVED_S
    store.create(new_job(idempotency_key="order-7"))
    assert RESERVED_S < redis.ttl(name) <= 86_400


@pytest.mark.parametrize("lost", ["ended", "taken by another body", "bound to another job"])
def test_a_request_that_lost_its_reservation_makes_no_job(
    store: JobStore, new_job: NewJobs, redis: Redis, lost: str
) -> None:
    store.idempotency.begin("key_1", "order-7", "body")
    redis.delete(reservation_key("key_1", "order-7"))
    if lost != "ended":
        body = "other" if "body" in lost else "body"
        store.idempotency.begin("key_1", "order-7", body)
    made = 0
    if lost == "bound to another job":
        store.create(new_job(idempotency_key="order-7", idempotency_fingerprint="body"))
        made = 1
    with pytest.raises(IdempotencyInProgress):
        store.create(new_job(idempotency_key="order-7", idempotency_fingerprint="body"))
    assert store.counts()["queued"] == made


@pytest.mark.parametrize("key", ["x" * 255, "schlüssel", "a:b:c", "\ud800", "*"])
def test_any_idempotency_key_becomes_one_short_redis_key(store: JobStore, key: str) -> None:
    assert len(reservation_key("key_1", key)) < 80
    assert store.idempotency.begin("key_1", key, "body") is None
    with pytest.raises(FacemendError):
        store.idempotency.begin("key_1", key, "body")


def test_a_repetition_reads_how_long_the_first_request_waits(
    store: JobStore, new_job: NewJobs
) -> None:
    store.idempotency.begin("key_1", "order-7", "body", wait_s=30)
    job = store.create(new_job(idempotency_key="order-7"))
    again = store.idempotency.begin("key_1", "order-7", "body", wait_s=5)
    assert again == FirstRequest(job.id, wait_s=30)
