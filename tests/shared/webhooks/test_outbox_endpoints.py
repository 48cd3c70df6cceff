"""Endpoints: one that is gone or fails for days is sent nothing more, until it is well again."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest
from redis import Redis

from shared.jobs.record import Delivery
from shared.jobs.store import JobStore
from shared.webhooks.events import JITTER, MAX_RETRY_AFTER_S, RETRY_SCHEDULE_S
from shared.webhooks.outbox import DISABLED_S, FAILING_S, FORGET_FAILURES_S, Noted, Went
from tests.jobs import TENANT, finish, make_due, only_delivery
from tests.shared.conftest import redis_time

URL = "https://a.example/hook"
TRY: dict[str, Any] = {"at": 1.5, "status_code": 500, "latency_ms": 12, "error": "no"}


def taken(store: JobStore) -> Delivery:
    (delivery,) = store.outbox.take(10, 30)
    return delivery


def note(store: JobStore, went: Went, url: str = URL, delay_s: float | None = 5) -> Noted:
    """What a try at a new event for ``url`` leads to."""
    finish(store, url)
    noted = store.outbox.note(taken(store), went, TRY, delay_s)
    assert noted is not None
    return noted


def health(url: str = URL) -> str:
    return f"fm:tenant:{TENANT}:endpoint:{hashlib.sha1(url.encode()).hexdigest()}"


def failed_for(redis: Redis, seconds: float) -> None:
    redis.hset(health(), "failing_since", redis_time(redis) - seconds)


def test_an_endpoint_that_fails_is_asked_again_for_days(store: JobStore, redis: Redis) -> None:
    assert note(store, Went.FAILED) == Noted("pending", None)
    failed_for(redis, FAILING_S - 60)
    assert note(store, Went.FAILED) == Noted("pending", None)


def test_after_120_hours_of_nothing_but_failures_it_is_disabled(
    store: JobStore, redis: Redis
) -> None:
    assert FAILING_S == 120 * 3600
    note(store, Went.FAILED)
    failed_for(redis, FAILING_S + 60)
    job_id = finish(store, URL)
    delivery = taken(store)
    assert store.outbox.note(delivery, Went.FAILED, TRY, 5) == Noted("dead", "failing")
    assert only_delivery(store, job_id)["disabled"] == {
        "at": pytest.approx(redis_time(redis), abs=60),
        "reason": "failing",
    }


def test_one_success_starts_the_count_anew(store: JobStore, redis: Redis) -> None:
    note(store, Went.FAILED)
    failed_for(redis, FAILING_S + 60)
    assert note(store, Went.DELIVERED) == Noted("delivered", None)
    assert note(store, Went.FAILED) == Noted("pending", None)


def test_failures_long_ago_are_forgotten_but_no_wait_of_the_schedule_is_so_long(
    store: JobStore, redis: Redis
) -> None:
    note(store, Went.FAILED)
    assert 0 < redis.ttl(health()) <= FORGET_FAILURES_S
    longest_s = max(RETRY_SCHEDULE_S) * (1 + JITTER)
    assert max(longest_s, MAX_RETRY_AFTER_S) < FORGET_FAILURES_S < FAILING_S


def test_one_that_is_gone_is_disabled_at_once(store: JobStore) -> None:
    assert note(store, Went.GONE, delay_s=5) == Noted("dead", "gone")
    job_id = finish(store, URL)
    assert taken(store).disabled == "gone"
    assert only_delivery(store, job_id)["disabled"]["reason"] == "gone"


def test_what_was_never_sent_says_nothing_of_the_endpoint(store: JobStore, redis: Redis) -> None:
    assert note(store, Went.UNSENT) == Noted("pending", None)
    assert note(store, Went.UNSENT, delay_s=None) == Noted("dead", None)
    assert not redis.exists(health())


def test_it_is_told_once_that_an_endpoint_was_disabled(store: JobStore) -> None:
    note(store, Went.GONE)
    assert note(store, Went.UNSENT, delay_s=None) == Noted("dead", None)
    assert note(store, Went.GONE) == Noted("dead", None)


@pytest.mark.parametrize(
    "other", ["https://a.example/other", "https://a.example/hook?a=1", "https://b.example/hook"]
)
def test_only_that_address_is_disabled(store: JobStore, other: str) -> None:
    note(store, Went.GONE)
    finish(store, other)
    assert taken(store).disabled is None


def test_another_tenants_endpoint_is_another_one(store: JobStore, redis: Redis) -> None:
    note(store, Went.GONE)
    store.outbox.send_test("globex", URL)
    redis.hdel(f"fm:delivery:{taken(store).id}", "probe")
    make_due(redis)
    assert taken(store).disabled is None


@pytest.mark.parametrize("again", ["redelivery", "test"])
def test_a_redelivery_or_a_test_that_arrives_enables_it(store: JobStore, again: str) -> None:
    job_id = finish(store, URL)
    store.outbox.note(taken(store), Went.GONE, TRY)
    if again == "redelivery":
        store.outbox.redeliver(TENANT, only_delivery(store, job_id)["id"])
    else:
        store.outbox.send_test(TENANT, URL)
    probe = taken(store)
    assert probe.disabled is None  # it is sent all the same
    assert store.outbox.note(probe, Went.DELIVERED, TRY) == Noted("delivered", "enabled")
    finish(store, URL)
    assert taken(store).disabled is None


def test_a_redelivery_that_fails_has_one_try_only(store: JobStore) -> None:
    job_id = finish(store, URL)
    store.outbox.note(taken(store), Went.GONE, TRY)
    store.outbox.redeliver(TENANT, only_delivery(store, job_id)["id"])
    assert store.outbox.note(taken(store), Went.FAILED, TRY, 5) == Noted("dead", None)
    assert only_delivery(store, job_id)["disabled"]["reason"] == "gone"


def test_what_is_known_of_endpoints_does_not_grow_for_ever(store: JobStore, redis: Redis) -> None:
    note(store, Went.GONE)
    assert 0 < redis.ttl(health()) <= DISABLED_S
    note(store, Went.DELIVERED, "https://b.example/hook")
    assert not redis.exists(health("https://b.example/hook"))
