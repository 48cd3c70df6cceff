"""Ended deliveries: listed, sent again, kept longer than their jobs, erased with them."""

from __future__ import annotations

import re
from typing import Any

import pytest
from redis import Redis

from shared.errors import InvalidRequest, NotFound
from shared.jobs.job import Status, new_id
from shared.jobs.record import Outcome
from shared.jobs.store import JobStore
from shared.webhooks.outbox import TEST_EVENT, AttemptResult, Delivery, Outbox
from tests.jobs import TENANT, end_job, expire_job, make_due, only_delivery, queue_job

URL = "https://a.example/hook"
TRY: dict[str, Any] = {"at": 1.5, "status_code": 500, "latency_ms": 12, "error": "no"}
WEEK_S = 7 * 86_400


def taken(outbox: Outbox) -> Delivery:
    (delivery,) = outbox.take(10, 30)
    return delivery


def dead(store: JobStore, outbox: Outbox, url: str = URL) -> str:
    """Returns a delivery that was given up."""
    job_id = end_job(store, url)
    outbox.record_attempt(taken(outbox), AttemptResult.FAILED, TRY)
    return str(only_delivery(outbox, job_id)["id"])


def succeed(store: JobStore) -> str:
    job_id = queue_job(store, URL)
    claim = store.runs.claim(job_id, "worker-1")
    assert claim is not None
    result = {"faces": [{"landmarks": [[1.0, 2.0]]}], "image": {"key": "k"}}
    outcome = Outcome(Status.SUCCEEDED, result=result, warnings=("animated",), timings_ms={"a": 12})
    assert store.runs.finish(job_id, claim.token, outcome)
    return job_id


# --- found ---


def test_a_delivery_is_found_by_its_tenant_alone(store: JobStore, outbox: Outbox) -> None:
    job_id = end_job(store, URL)
    delivery = only_delivery(outbox, job_id)
    assert outbox.find(TENANT, delivery["id"]) == delivery
    assert delivery["job_id"] == job_id
    for tenant, delivery_id in [("globex", delivery["id"]), (TENANT, new_id("dlv"))]:
        with pytest.raises(NotFound):
            outbox.find(tenant, delivery_id)
        with pytest.raises(NotFound):
            outbox.redeliver(tenant, delivery_id)
    assert store.counts()["deliveries_pending"] == 1


# --- sent again ---


@pytest.mark.parametrize("end", [AttemptResult.DELIVERED, AttemptResult.FAILED])
def test_an_ended_delivery_is_sent_again_as_the_same_event_and_keeps_its_attempts(
    store: JobStore, outbox: Outbox, end: AttemptResult
) -> None:
    job_id = end_job(store, URL)
    first = taken(outbox)
    outbox.record_attempt(first, end, TRY)
    again = outbox.redeliver(TENANT, first.id)
    assert (again["state"], again["tries"], len(again["attempts"])) == ("pending", 0, 1)
    second = taken(outbox)
    assert (second.id, second.event_id, second.attempt) == (first.id, first.event_id, 1)
    outbox.record_attempt(second, AttemptResult.DELIVERED, TRY)
    delivery = only_delivery(outbox, job_id)
    assert (delivery["state"], len(delivery["attempts"])) == ("delivered", 2)


def test_a_redelivery_makes_a_waiting_delivery_due_now(store: JobStore, outbox: Outbox) -> None:
    end_job(store, URL)
    first = taken(outbox)
    outbox.record_attempt(first, AttemptResult.FAILED, TRY, 3600)
    assert outbox.take(10, 30) == []
    outbox.redeliver(TENANT, first.id)
    assert taken(outbox).attempt == 1


def test_a_delivery_that_is_being_sent_is_not_sent_twice(store: JobStore, outbox: Outbox) -> None:
    job_id = end_job(store, URL)
    first = taken(outbox)
    outbox.redeliver(TENANT, first.id)
    assert outbox.take(10, 30) == []
    outbox.record_attempt(first, AttemptResult.DELIVERED, TRY)
    assert only_delivery(outbox, job_id)["state"] == "delivered"


# --- dead letters ---


def test_dead_letters_are_listed_newest_first_page_by_page(store: JobStore, outbox: Outbox) -> None:
    end_job(store, URL)
    outbox.record_attempt(taken(outbox), AttemptResult.DELIVERED, TRY)
    ids = [dead(store, outbox) for _ in range(5)]
    pages, cursor = [], None
    while True:
        page, cursor = outbox.dead_letters(TENANT, 2, cursor)
        pages.append([letter["id"] for letter in page])
        if cursor is None:
            break
    assert [letter for page in pages for letter in page] == ids[::-1]
    assert max(map(len, pages)) == 2
    assert outbox.dead_letters("globex", 2) == ([], None)


def test_a_redelivered_or_erased_delivery_is_not_a_dead_letter(
    store: JobStore, outbox: Outbox
) -> None:
    first, second = dead(store, outbox), dead(store, outbox)
    outbox.redeliver(TENANT, first)
    assert [letter["id"] for letter in outbox.dead_letters(TENANT, 10)[0]] == [second]
    store.erase(TENANT, outbox.find(TENANT, second)["job_id"])
    assert outbox.dead_letters(TENANT, 10) == ([], None)


def test_an_expired_dead_letter_leaves_the_list(
    store: JobStore, outbox: Outbox, redis: Redis
) -> None:
    first, second = dead(store, outbox), dead(store, outbox)
    redis.delete(f"fm:delivery:{first}")
    assert [letter["id"] for letter in outbox.dead_letters(TENANT, 10)[0]] == [second]
    assert redis.zcard(f"fm:tenant:{TENANT}:dead") == 1


@pytest.mark.parametrize("cursor", ["", "x", "é", "MTIzIERST1A"])
def test_an_unknown_cursor_is_refused(outbox: Outbox, cursor: str) -> None:
    with pytest.raises(InvalidRequest):
        outbox.dead_letters(TENANT, 10, cursor)


def test_the_oldest_of_more_than_ten_thousand_dead_letters_is_removed(
    store: JobStore, outbox: Outbox, redis: Redis
) -> None:
    oldest, second = dead(store, outbox), dead(store, outbox)
    score = redis.zscore(f"fm:tenant:{TENANT}:dead", second)
    redis.zadd(f"fm:tenant:{TENANT}:dead", {f"dlv_{n}": score for n in range(9_997)})
    kept = [second, dead(store, outbox)]
    assert redis.zcard(f"fm:tenant:{TENANT}:dead") == 10_000
    assert outbox.find(TENANT, oldest)["state"] == "dead"
    kept.append(dead(store, outbox))
    assert redis.zcard(f"fm:tenant:{TENANT}:dead") == 10_000
    assert {outbox.find(TENANT, each)["state"] for each in kept} == {"dead"}
    with pytest.raises(NotFound):
        outbox.find(TENANT, oldest)


# --- tests of receivers ---


def test_a_test_delivery_has_no_job(outbox: Outbox) -> None:
    made = outbox.send_test(TENANT, URL)
    assert re.fullmatch(r"dlv_[0-9a-f]{32}", made["id"])
    delivery = taken(outbox)
    assert (delivery.id, delivery.event, delivery.url) == (made["id"], TEST_EVENT, URL)
    assert (delivery.job_id, delivery.job) == ("", None)


def test_the_outcome_of_a_test_delivery_is_kept_for_a_week(outbox: Outbox, redis: Redis) -> None:
    outbox.send_test(TENANT, URL)
    delivery = taken(outbox)
    outbox.record_attempt(delivery, AttemptResult.DELIVERED, TRY)
    assert outbox.find(TENANT, delivery.id)["state"] == "delivered"
    for key in redis.keys(f"fm:delivery:{delivery.id}*"):
        assert 0 < redis.ttl(key) <= WEEK_S


# --- longer than the job ---


def test_a_pending_delivery_outlives_its_job_and_is_sent_without_the_result(
    store: JobStore, outbox: Outbox, redis: Redis
) -> None:
    job_id = succeed(store)
    before = store.get(TENANT, job_id)
    assert expire_job(redis, store, job_id)
    delivery = taken(outbox)
    assert delivery.job is not None
    assert (delivery.job.id, delivery.job.status) == (job_id, Status.SUCCEEDED)
    assert delivery.job.request == before.request
    assert delivery.job.warnings == ("animated",)
    assert delivery.job.timings_ms == {"a": 12}
    assert delivery.job.result is None
    assert "landmarks" not in redis.get(f"fm:delivery:{delivery.id}:job")
    assert redis.keys(f"fm:job:{job_id}*") == []


def test_the_error_of_a_failed_job_is_sent_even_after_the_job_expired(
    store: JobStore, outbox: Outbox, redis: Redis
) -> None:
    job_id = queue_job(store, URL)
    claim = store.runs.claim(job_id, "worker-1")
    assert claim is not None
    error = {"code": "corrupt-image", "errors": [{"pointer": "/a"}], "retryable": False}
    store.runs.finish(job_id, claim.token, Outcome(Status.FAILED, error=error))
    expire_job(redis, store, job_id)
    told = taken(outbox).job
    assert told is not None
    assert told.error == error


def test_an_ended_delivery_is_kept_for_a_week_and_can_be_sent_again(
    store: JobStore, outbox: Outbox, redis: Redis
) -> None:
    job_id = succeed(store)
    expire_job(redis, store, job_id)
    delivery = taken(outbox)
    assert redis.ttl(f"fm:delivery:{delivery.id}") == -1
    outbox.record_attempt(delivery, AttemptResult.FAILED, TRY)
    keys = redis.keys(f"fm:delivery:{delivery.id}*")
    assert len(keys) == 3
    assert all(0 < redis.ttl(key) <= WEEK_S for key in keys)
    outbox.redeliver(TENANT, delivery.id)
    assert all(redis.ttl(key) == -1 for key in keys)
    again = taken(outbox)
    assert again.job is not None
    assert again.job.id == job_id


def test_a_dead_letter_is_kept_for_a_week_after_its_job(
    store: JobStore, outbox: Outbox, redis: Redis
) -> None:
    delivery_id = dead(store, outbox)
    job_id = outbox.find(TENANT, delivery_id)["job_id"]
    expire_job(redis, store, job_id)
    assert [letter["id"] for letter in outbox.dead_letters(TENANT, 10)[0]] == [delivery_id]
    assert 0 < redis.ttl(f"fm:delivery:{delivery_id}") <= WEEK_S


def test_a_delivered_webhook_expires_with_its_job(
    store: JobStore, outbox: Outbox, redis: Redis
) -> None:
    job_id = end_job(store, URL)
    delivery = taken(outbox)
    outbox.record_attempt(delivery, AttemptResult.DELIVERED, TRY)
    expire_job(redis, store, job_id)
    assert redis.keys(f"fm:delivery:{delivery.id}*") == []


def test_erasing_a_job_erases_its_deliveries(store: JobStore, outbox: Outbox, redis: Redis) -> None:
    job_id = end_job(store, URL)
    delivery = taken(outbox)
    store.erase(TENANT, job_id)
    assert redis.keys("fm:delivery:*") == []
    assert outbox.record_attempt(delivery, AttemptResult.DELIVERED, TRY) is None
    make_due(redis)
    assert outbox.take(10, 30) == []
    assert store.counts()["deliveries_pending"] == 0


def test_a_job_that_was_started_again_does_not_expire(store: JobStore, redis: Redis) -> None:
    job_id = end_job(store, URL)
    store.retry(TENANT, job_id)
    assert not expire_job(redis, store, job_id)
    assert store.get(TENANT, job_id).status is Status.QUEUED


def test_after_a_retry_the_old_event_still_reports_the_first_end(
    store: JobStore, outbox: Outbox
) -> None:
    job_id = end_job(store, URL)
    store.retry(TENANT, job_id)
    claim = store.runs.claim(job_id, "worker-1")
    assert claim is not None
    store.runs.finish(job_id, claim.token, Outcome(Status.SUCCEEDED))
    old, new = sorted(outbox.take(10, 30), key=lambda each: each.created_at)
    assert (old.event, new.event) == ("restoration.failed", "restoration.succeeded")
    assert old.event_id != new.event_id
    assert old.job is not None
    assert old.job.status is Status.FAILED
    assert new.job is None  # the record says it
