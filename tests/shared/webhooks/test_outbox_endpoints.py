"""An endpoint that is gone or fails for days is disabled until a delivery succeeds."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest
from redis import Redis

from shared.jobs.store import JobStore
from shared.webhooks.outbox import (
    DISABLED_S,
    FAILING_S,
    FORGET_FAILURES_S,
    AttemptResult,
    Delivery,
    DeliveryOutcome,
    Outbox,
)
from shared.webhooks.schedule import JITTER, MAX_RETRY_AFTER_S, RETRY_SCHEDULE_S
from tests.jobs import TENANT, end_job, make_due, only_delivery
from tests.shared.conftest import redis_time

URL = "https://a.example/hook"
TRY: dict[str, Any] = {"at": 1.5, "status_code": 500, "latency_ms": 12, "error": "no"}


def taken(outbox: Outbox) -> Delivery:
    (delivery,) = outbox.take(10, 30)
    return delivery


def note(
    store: JobStore, outbox: Outbox, went: AttemptResult, url: str = URL, delay_s: float | None = 5
) -> DeliveryOutcome:
    """Return the outcome of an attempt to send a new event to ``url``."""
    end_job(store, url)
    noted = outbox.record_attempt(taken(outbox), went, TRY, delay_s)
    assert noted is not None
    return noted


def health(url: str = URL) -> str:
    return f"fm:tenant:{TENANT}:endpoint:{hashlib.sha1(url.encode()).hexdigest()}"


def failed_for(redis: Redis, seconds: float) -> None:
    redis.hset(health(), "failing_since", redis_time(redis) - seconds)


def test_a_failing_endpoint_is_tried_for_days(
    store: JobStore, outbox: Outbox, redis: Redis
) -> None:
    assert note(store, outbox, AttemptResult.FAILED) == DeliveryOutcome("pending", None)
    failed_for(redis, FAILING_S - 60)
    assert note(store, outbox, AttemptResult.FAILED) == DeliveryOutcome("pending", None)


def test_after_120_hours_of_nothing_but_failures_it_is_disabled(
    store: JobStore, outbox: Outbox, redis: Redis
) -> None:
    assert FAILING_S == 120 * 3600
    note(store, outbox, AttemptResult.FAILED)
    failed_for(redis, FAILING_S + 60)
    job_id = end_job(store, URL)
    delivery = taken(outbox)
    assert outbox.record_attempt(delivery, AttemptResult.FAILED, TRY, 5) == DeliveryOutcome(
        "dead", "failing"
    )
    assert only_delivery(outbox, job_id)["disabled"] == {
        "at": pytest.approx(redis_time(redis), abs=60),
        "reason": "failing",
    }


def test_one_success_resets_the_count_of_failures(
    store: JobStore, outbox: Outbox, redis: Redis
) -> None:
    note(store, outbox, AttemptResult.FAILED)
    failed_for(redis, FAILING_S + 60)
    assert note(store, outbox, AttemptResult.DELIVERED) == DeliveryOutcome("delivered", None)
    assert note(store, outbox, AttemptResult.FAILED) == DeliveryOutcome("pending", None)


def test_failures_long_ago_are_forgotten_but_no_wait_of_the_schedule_is_so_long(
    store: JobStore, outbox: Outbox, redis: Redis
) -> None:
    note(store, outbox, AttemptResult.FAILED)
    assert 0 < redis.ttl(health()) <= FORGET_FAILURES_S
    longest_s = max(RETRY_SCHEDULE_S) * (1 + JITTER)
    assert max(longest_s, MAX_RETRY_AFTER_S) < FORGET_FAILURES_S < FAILING_S


def test_an_endpoint_that_responds_gone_is_disabled_at_once(
    store: JobStore, outbox: Outbox
) -> None:
    assert note(store, outbox, AttemptResult.GONE, delay_s=5) == DeliveryOutcome("dead", "gone")
    job_id = end_job(store, URL)
    assert taken(outbox).disabled == "gone"
    assert only_delivery(outbox, job_id)["disabled"]["reason"] == "gone"


def test_a_delivery_that_was_not_sent_does_not_count_against_the_endpoint(
    store: JobStore, outbox: Outbox, redis: Redis
) -> None:
    assert note(store, outbox, AttemptResult.UNSENT) == DeliveryOutcome("pending", None)
    assert note(store, outbox, AttemptResult.UNSENT, delay_s=None) == DeliveryOutcome("dead", None)
    assert not redis.exists(health())


def test_the_disabling_of_an_endpoint_is_reported_once(store: JobStore, outbox: Outbox) -> None:
    note(store, outbox, AttemptResult.GONE)
    assert note(store, outbox, AttemptResult.UNSENT, delay_s=None) == DeliveryOutcome("dead", None)
    assert note(store, outbox, AttemptResult.GONE) == DeliveryOutcome("dead", None)


@pytest.mark.parametrize(
    "other", ["https://a.example/other", "https://a.example/hook?a=1", "https://b.example/hook"]
)
def test_only_that_address_is_disabled(store: JobStore, outbox: Outbox, other: str) -> None:
    note(store, outbox, AttemptResult.GONE)
    end_job(store, other)
    assert taken(outbox).disabled is None


def test_endpoints_of_different_tenants_are_independent(
    store: JobStore, outbox: Outbox, redis: Redis
) -> None:
    note(store, outbox, AttemptResult.GONE)
    outbox.send_test("globex", URL)
    redis.hdel(f"fm:delivery:{taken(outbox).id}", "probe")
    make_due(redis)
    assert taken(outbox).disabled is None


@pytest.mark.parametrize("again", ["redelivery", "test"])
def test_a_redelivery_or_a_test_that_arrives_enables_it(
    store: JobStore, outbox: Outbox, again: str
) -> None:
    job_id = end_job(store, URL)
    outbox.record_attempt(taken(outbox), AttemptResult.GONE, TRY)
    if again == "redelivery":
        outbox.redeliver(TENANT, only_delivery(outbox, job_id)["id"])
    else:
        outbox.send_test(TENANT, URL)
    probe = taken(outbox)
    assert probe.disabled is None  # it is sent all the same
    assert outbox.record_attempt(probe, AttemptResult.DELIVERED, TRY) == DeliveryOutcome(
        "delivered", "enabled"
    )
    end_job(store, URL)
    assert taken(outbox).disabled is None


def test_a_redelivery_that_fails_has_one_try_only(store: JobStore, outbox: Outbox) -> None:
    job_id = end_job(store, URL)
    outbox.record_attempt(taken(outbox), AttemptResult.GONE, TRY)
    outbox.redeliver(TENANT, only_delivery(outbox, job_id)["id"])
    assert outbox.record_attempt(taken(outbox), AttemptResult.FAILED, TRY, 5) == DeliveryOutcome(
        "dead", None
    )
    assert only_delivery(outbox, job_id)["disabled"]["reason"] == "gone"


def test_the_records_of_endpoints_expire(store: JobStore, outbox: Outbox, redis: Redis) -> None:
    note(store, outbox, AttemptResult.GONE)
    assert 0 < redis.ttl(health()) <= DISABLED_S
    note(store, outbox, AttemptResult.DELIVERED, "https://b.example/hook")
    assert not redis.exists(health("https://b.example/hook"))
