"""Deliveries after their first end: found, sent again, outliving their job, erased with it."""

from __future__ import annotations

import re
from typing import Any

import pytest
from redis import Redis

from shared.errors import InvalidRequest, NotFound
from shared.jobs.job import Status, new_id
from shared.jobs.record import Delivery, Outcome
from shared.jobs.store import JobStore
from shared.webhooks.outbox import TEST_EVENT, Went
from tests.jobs import TENANT, finish, make_due, only_delivery, take

URL = "https://a.example/hook"
TRY: dict[str, Any] = {"at": 1.5, "status_code": 500, "latency_ms": 12, "error": "no"}
WEEK_S = 7 * 86_400


def taken(store: JobStore) -> Delivery:
    (delivery,) = store.outbox.take(10, 30)
    return delivery


def dead(store: JobStore, url: str = URL) -> str:
    """A job's delivery that was given up."""
    job_id = finish(store, url)
    store.outbox.note(taken(store), Went.FAILED, TRY)
    return str(only_delivery(store, job_id)["id"])


def succeed(store: JobStore) -> str:
    job_id = take(store, URL)
    claim = store.claim(job_id, "worker-1")
    assert claim is not None
    result = {"faces": [{"landmarks": [[1.0, 2.0]]}], "image": {"key": "k"}}
    outcome = Outcome(Status.SUCCEEDED, result=result, warnings=("animated",), timings_ms={"a": 12})
    assert store.finish(job_id, claim.token, outcome)
    return job_id


# --- found ---


def test_a_delivery_is_found_by_its_tenant_alone(store: JobStore) -> None:
    job_id = finish(store, URL)
    delivery = only_delivery(store, job_id)
    assert store.outbox.find(TENANT, delivery["id"]) == delivery
    assert delivery["job_id"] == job_id
    for tenant, delivery_id in [("globex", delivery["id"]), (TENANT, new_id("dlv"))]:
        with pytest.raises(NotFound):
            store.outbox.find(tenant, delivery_id)
        with pytest.raises(NotFound):
            store.outbox.redeliver(tenant, delivery_id)
    assert store.counts()["deliveries_pending"] == 1


# --- sent again ---


@pytest.mark.parametrize("end", [Went.DELIVERED, Went.FAILED])
def test_what_has_ended_is_sent_again_as_the_same_event_with_all_its_tries(
    store: JobStore, end: Went
) -> None:
    job_id = finish(store, URL)
    first = taken(store)
    store.outbox.note(first, end, TRY)
    again = store.outbox.redeliver(TENANT, first.id)
    assert (again["state"], again["tries"], len(again["attempts"])) == ("pending", 0, 1)
    second = taken(store)
    assert (second.id, second.event_id, second.attempt) == (first.id, first.event_id, 1)
    store.outbox.note(second, Went.DELIVERED, TRY)
    delivery = only_delivery(store, job_id)
    assert (delivery["state"], len(delivery["attempts"])) == ("delivered", 2)


def test_what_waits_need_not_wait_longer(store: JobStore) -> None:
    finish(store, URL)
    first = taken(store)
    store.outbox.note(first, Went.FAILED, TRY, 3600)
    assert store.outbox.take(10, 30) == []
    store.outbox.redeliver(TENANT, first.id)
    assert taken(store).attempt == 1


def test_what_is_on_its_way_is_not_sent_twice(store: JobStore) -> None:
    job_id = finish(store, URL)
    first = taken(store)
    store.outbox.redeliver(TENANT, first.id)
    assert store.outbox.take(10, 30) == []
    store.outbox.note(first, Went.DELIVERED, TRY)
    assert only_delivery(store, job_id)["state"] == "delivered"


# --- dead letters ---


def test_dead_letters_are_listed_the_last_one_first_page_by_page(store: JobStore) -> None:
    finish(store, URL)
    store.outbox.note(taken(store), Went.DELIVERED, TRY)
    ids = [dead(store) for _ in range(5)]
    pages, cursor = [], None
    while True:
        page, cursor = store.outbox.dead_letters(TENANT, 2, cursor)
        pages.append([letter["id"] for letter in page])
        if cursor is None:
            break
    assert [letter for page in pages for letter in page] == ids[::-1]
    assert max(map(len, pages)) == 2
    assert store.outbox.dead_letters("globex", 2) == ([], None)


def test_what_is_sent_again_or_erased_is_no_dead_letter_any_more(store: JobStore) -> None:
    first, second = dead(store), dead(store)
    store.outbox.redeliver(TENANT, first)
    assert [letter["id"] for letter in store.outbox.dead_letters(TENANT, 10)[0]] == [second]
    store.erase(TENANT, store.outbox.find(TENANT, second)["job_id"])
    assert store.outbox.dead_letters(TENANT, 10) == ([], None)


def test_a_dead_letter_whose_time_is_over_leaves_the_list(store: JobStore, redis: Redis) -> None:
    first, second = dead(store), dead(store)
    redis.delete(f"fm:delivery:{first}")
    assert [letter["id"] for letter in store.outbox.dead_letters(TENANT, 10)[0]] == [second]
    assert redis.zcard(f"fm:tenant:{TENANT}:dead") == 1


@pytest.mark.parametrize("cursor", ["", "x", "é", "MTIzIERST1A"])
def test_a_cursor_that_is_none_of_ours_is_refused(store: JobStore, cursor: str) -> None:
    with pytest.raises(InvalidRequest):
        store.outbox.dead_letters(TENANT, 10, cursor)


def test_beyond_ten_thousand_the_oldest_dead_letter_is_forgotten(
    store: JobStore, redis: Redis
) -> None:
    oldest, second = dead(store), dead(store)
    score = redis.zscore(f"fm:tenant:{TENANT}:dead", second)
    redis.zadd(f"fm:tenant:{TENANT}:dead", {f"dlv_{n}": score for n in range(9_997)})
    kept = [second, dead(store)]
    assert redis.zcard(f"fm:tenant:{TENANT}:dead") == 10_000
    assert store.outbox.find(TENANT, oldest)["state"] == "dead"
    kept.append(dead(store))
    assert redis.zcard(f"fm:tenant:{TENANT}:dead") == 10_000
    assert {store.outbox.find(TENANT, each)["state"] for each in kept} == {"dead"}
    with pytest.raises(NotFound):
        store.outbox.find(TENANT, oldest)


# --- tests of receivers ---


def test_a_test_tells_of_no_job(store: JobStore) -> None:
    made = store.outbox.send_test(TENANT, URL)
    assert re.fullmatch(r"dlv_[0-9a-f]{32}", made["id"])
    delivery = taken(store)
    assert (delivery.id, delivery.event, delivery.url) == (made["id"], TEST_EVENT, URL)
    assert (delivery.job_id, delivery.job) == ("", None)


def test_what_became_of_a_test_is_kept_for_a_week(store: JobStore, redis: Redis) -> None:
    store.outbox.send_test(TENANT, URL)
    delivery = taken(store)
    store.outbox.note(delivery, Went.DELIVERED, TRY)
    assert store.outbox.find(TENANT, delivery.id)["state"] == "delivered"
    for key in redis.keys(f"fm:delivery:{delivery.id}*"):
        assert 0 < redis.ttl(key) <= WEEK_S


# --- longer than the job ---


def test_a_pending_delivery_outlives_its_job_and_tells_of_it_without_the_result(
    store: JobStore, redis: Redis
) -> None:
    job_id = succeed(store)
    before = store.get(TENANT, job_id)
    assert store.expire(TENANT, job_id)
    delivery = taken(store)
    assert delivery.job is not None
    assert (delivery.job.id, delivery.job.status) == (job_id, Status.SUCCEEDED)
    assert delivery.job.request == before.request
    assert delivery.job.warnings == ("animated",)
    assert delivery.job.timings_ms == {"a": 12}
    assert delivery.job.result is None
    assert "landmarks" not in redis.get(f"fm:delivery:{delivery.id}:job")
    assert redis.keys(f"fm:job:{job_id}*") == []


def test_the_error_of_a_failed_job_is_told_after_its_time(store: JobStore) -> None:
    job_id = take(store, URL)
    claim = store.claim(job_id, "worker-1")
    assert claim is not None
    error = {"code": "corrupt-image", "errors": [{"pointer": "/a"}], "retryable": False}
    store.finish(job_id, claim.token, Outcome(Status.FAILED, error=error))
    store.expire(TENANT, job_id)
    told = taken(store).job
    assert told is not None
    assert told.error == error


def test_once_it_has_ended_it_is_kept_for_a_week_and_may_be_sent_again(
    store: JobStore, redis: Redis
) -> None:
    job_id = succeed(store)
    store.expire(TENANT, job_id)
    delivery = taken(store)
    assert redis.ttl(f"fm:delivery:{delivery.id}") == -1
    store.outbox.note(delivery, Went.FAILED, TRY)
    keys = redis.keys(f"fm:delivery:{delivery.id}*")
    assert len(keys) == 3
    assert all(0 < redis.ttl(key) <= WEEK_S for key in keys)
    store.outbox.redeliver(TENANT, delivery.id)
    assert all(redis.ttl(key) == -1 for key in keys)
    again = taken(store)
    assert again.job is not None
    assert again.job.id == job_id


def test_a_dead_letter_is_kept_for_a_week_after_its_job(store: JobStore, redis: Redis) -> None:
    delivery_id = dead(store)
    job_id = store.outbox.find(TENANT, delivery_id)["job_id"]
    store.expire(TENANT, job_id)
    assert [letter["id"] for letter in store.outbox.dead_letters(TENANT, 10)[0]] == [delivery_id]
    assert 0 < redis.ttl(f"fm:delivery:{delivery_id}") <= WEEK_S


def test_a_delivered_webhook_goes_with_its_job(store: JobStore, redis: Redis) -> None:
    job_id = finish(store, URL)
    delivery = taken(store)
    store.outbox.note(delivery, Went.DELIVERED, TRY)
    store.expire(TENANT, job_id)
    assert redis.keys(f"fm:delivery:{delivery.id}*") == []


def test_erasing_a_job_takes_every_delivery_with_it(store: JobStore, redis: Redis) -> None:
    job_id = finish(store, URL)
    delivery = taken(store)
    store.erase(TENANT, job_id)
    assert redis.keys("fm:delivery:*") == []
    assert store.outbox.note(delivery, Went.DELIVERED, TRY) is None
    make_due(redis)
    assert store.outbox.take(10, 30) == []
    assert store.counts()["deliveries_pending"] == 0


def test_a_job_that_was_started_again_does_not_expire(store: JobStore) -> None:
    job_id = finish(store, URL)
    store.retry(TENANT, job_id)
    assert not store.expire(TENANT, job_id)
    assert store.get(TENANT, job_id).status is Status.QUEUED


def test_after_a_retry_the_old_event_still_tells_of_the_first_end(store: JobStore) -> None:
    job_id = finish(store, URL)
    store.retry(TENANT, job_id)
    claim = store.claim(job_id, "worker-1")
    assert claim is not None
    store.finish(job_id, claim.token, Outcome(Status.SUCCEEDED))
    old, new = sorted(store.outbox.take(10, 30), key=lambda each: each.created_at)
    assert (old.event, new.event) == ("restoration.failed", "restoration.succeeded")
    assert old.event_id != new.event_id
    assert old.job is not None
    assert old.job.status is Status.FAILED
    assert new.job is None  # the record says it
