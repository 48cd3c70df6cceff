"""Webhook deliveries: none lost, none sent by two at once, each with its story."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from redis import Redis

from shared.errors import NotFound
from shared.jobs.job import Event, Status, new_id
from shared.jobs.store import Delivery, JobStore, NewJob, Outcome
from shared.webhooks.outbox import Went
from tests.jobs import make_due
from tests.shared.conftest import at_once, redis_time

NewJobs = Callable[..., NewJob]
TRY: dict[str, Any] = {"at": 1.5, "status_code": 500, "latency_ms": 12, "error": None}


def ended(store: JobStore, new: NewJob, status: Status = Status.SUCCEEDED) -> str:
    store.create(new)
    claim = store.claim(new.id, "w")
    assert claim is not None
    store.finish(new.id, claim.token, Outcome(status))
    return new.id


def taken(store: JobStore) -> Delivery:
    (delivery,) = store.outbox.take(10, 30)
    return delivery


@pytest.mark.parametrize("status", [Status.SUCCEEDED, Status.FAILED, Status.CANCELED])
def test_each_end_has_its_event(store: JobStore, new_job: NewJobs, status: Status) -> None:
    job_id = ended(store, new_job(), status)
    delivery = taken(store)
    assert delivery.event == f"restoration.{status}"
    assert (delivery.job_id, delivery.tenant, delivery.attempt) == (job_id, "acme", 1)
    assert delivery.url == "http://127.0.0.1:9/hook"
    assert delivery.event_id.startswith("evt_")
    assert delivery.id.startswith("dlv_")


def test_only_wanted_events_are_delivered(store: JobStore, new_job: NewJobs) -> None:
    webhook = {"url": "http://127.0.0.1:9/hook", "events": [Event.FAILED]}
    ended(store, new_job(webhook=webhook))
    ended(store, new_job(webhook=None))
    failed = ended(store, new_job(webhook=webhook), Status.FAILED)
    assert taken(store).job_id == failed


def test_event_ids_differ_between_jobs_and_look_like_all_ids(
    store: JobStore, new_job: NewJobs
) -> None:
    import uuid

    for _ in range(5):
        ended(store, new_job())
    ids = [delivery.event_id for delivery in store.outbox.take(10, 30)]
    assert len(set(ids)) == 5
    assert all(uuid.UUID(event_id[4:]).version == 7 for event_id in ids)


def test_a_delivery_is_taken_by_one_sender(store: JobStore, new_job: NewJobs) -> None:
    for _ in range(20):
        ended(store, new_job())
    parts = at_once(4, lambda _: store.outbox.take(10, 30))
    ids = [delivery.id for part in parts for delivery in part]
    assert len(ids) == len(set(ids)) == 20
    assert store.outbox.take(10, 30) == []


def test_what_a_dead_sender_took_comes_again_as_the_same_event(
    store: JobStore, new_job: NewJobs, redis: Redis
) -> None:
    ended(store, new_job())
    first = taken(store)
    make_due(redis)
    second = taken(store)
    assert (second.id, second.event_id, second.attempt) == (first.id, first.event_id, 1)
    store.outbox.note(
        first, Went.DELIVERED, TRY
    )  # the dead one was only slow: it changes nothing any more
    assert store.counts()["deliveries_pending"] == 1
    store.outbox.note(second, Went.DELIVERED, TRY)
    assert store.counts()["deliveries_pending"] == 0


def test_a_failed_try_comes_again_after_its_delay_with_the_next_number(
    store: JobStore, new_job: NewJobs, redis: Redis
) -> None:
    job_id = ended(store, new_job())
    first = taken(store)
    store.outbox.note(first, Went.FAILED, TRY, 300)
    assert store.outbox.take(10, 30) == []
    (entry,) = store.deliveries("acme", job_id)
    assert entry["state"] == "pending"
    assert entry["next_try_at"] == pytest.approx(redis_time(redis) + 300, abs=60)
    make_due(redis)
    second = taken(store)
    assert (second.attempt, second.event_id) == (2, first.event_id)


@pytest.mark.parametrize("end", ["delivered", "dead"])
def test_an_ended_delivery_is_kept_with_all_its_tries(
    store: JobStore, new_job: NewJobs, redis: Redis, end: str
) -> None:
    job_id = ended(store, new_job())
    first = taken(store)
    store.outbox.note(first, Went.FAILED, TRY, 0)
    second = taken(store)
    store.outbox.note(second, Went.DELIVERED if end == "delivered" else Went.FAILED, TRY)
    (entry,) = store.deliveries("acme", job_id)
    assert entry["state"] == end
    assert entry["next_try_at"] is None
    assert entry["attempts"] == [{"attempt": 1, **TRY}, {"attempt": 2, **TRY}]
    assert (entry["id"], entry["event_id"]) == (first.id, first.event_id)
    assert store.outbox.take(10, 30) == []
    make_due(redis)
    assert store.outbox.take(10, 30) == []


def test_deliveries_of_a_foreign_or_missing_job_are_not_found(
    store: JobStore, new_job: NewJobs
) -> None:
    job_id = ended(store, new_job())
    with pytest.raises(NotFound):
        store.deliveries("other", job_id)
    with pytest.raises(NotFound):
        store.deliveries("acme", new_id("job"))


def test_a_delivery_without_its_record_holds_up_nobody(
    store: JobStore, new_job: NewJobs, redis: Redis
) -> None:
    job_ids = [ended(store, new_job()) for _ in range(2)]
    lost, kept = (store.deliveries("acme", job_id)[0]["id"] for job_id in job_ids)
    redis.delete(f"fm:delivery:{lost}")
    assert [delivery.id for delivery in store.outbox.take(2, 30)] == [kept]
    assert store.counts()["deliveries_pending"] == 1


# --- receivers in turn ---


def hooked(store: JobStore, new_job: NewJobs, url: str, tenant: str = "acme") -> str:
    return ended(store, new_job(tenant=tenant, webhook={"url": url, "events": [Event.SUCCEEDED]}))


def test_a_flood_for_one_receiver_leaves_every_other_its_share(
    store: JobStore, new_job: NewJobs
) -> None:
    for number in range(40):
        hooked(store, new_job, f"https://flooded.example/{number}")
    others = [hooked(store, new_job, f"https://{number}.example/hook") for number in range(3)]
    others.append(hooked(store, new_job, "https://flooded.example/0", tenant="globex"))
    others.append(hooked(store, new_job, "https://flooded.example:8443/0"))
    taken = store.outbox.take(12, 30)
    assert len(taken) <= 12
    assert {delivery.job_id for delivery in taken} >= set(others)


def test_all_of_a_flood_is_taken_in_the_end_and_each_once(
    store: JobStore, new_job: NewJobs
) -> None:
    for number in range(40):
        hooked(store, new_job, f"https://flooded.example/{number}")
    hooked(store, new_job, "https://a.example/hook")
    ids: list[str] = []
    while batch := store.outbox.take(10, 30):
        ids += [delivery.id for delivery in batch]
    assert len(ids) == len(set(ids)) == 41


def test_more_receivers_than_a_batch_holds_have_their_turn(
    store: JobStore, new_job: NewJobs
) -> None:
    for number in range(10):
        for _ in range(2):
            hooked(store, new_job, f"https://{number}.example/hook")
    first = [delivery.url for delivery in store.outbox.take(5, 30)]
    second = [delivery.url for delivery in store.outbox.take(5, 30)]
    assert len({*first, *second}) == 10


def test_a_lane_is_a_tenants_host_and_port(store: JobStore, new_job: NewJobs) -> None:
    for tenant, url in [
        ("acme", "https://a.example/one"),
        ("acme", "https://A.example/two?three#four"),
        ("globex", "https://a.example/one"),
        ("acme", "https://a.example:8443/one"),
        ("acme", "http://a.example/one"),
    ]:
        hooked(store, new_job, url, tenant)
    lanes = [each.lane for each in sorted(store.outbox.take(10, 30), key=lambda d: d.created_at)]
    assert lanes[0] == lanes[1]
    assert len(set(lanes)) == 4


def test_a_full_lane_is_left_alone_and_comes_again(store: JobStore, new_job: NewJobs) -> None:
    flooded = [hooked(store, new_job, "https://flooded.example/hook") for _ in range(3)]
    other = hooked(store, new_job, "https://a.example/hook")
    (first, *_) = store.outbox.take(2, 30)
    assert first.job_id == flooded[0]
    rest = store.outbox.take(10, 30, [first.lane])
    assert {each.job_id for each in rest} <= {other}
    again = store.outbox.take(10, 30)
    assert {each.job_id for each in again} == set(flooded[1:])


def test_a_new_event_does_not_wait_for_one_of_its_receiver_that_waits(
    store: JobStore, new_job: NewJobs
) -> None:
    job_id = hooked(store, new_job, "https://a.example/hook")
    store.outbox.note(taken(store), Went.FAILED, TRY, 3600)
    assert store.outbox.take(10, 30) == []
    second = hooked(store, new_job, "https://a.example/hook")
    assert taken(store).job_id == second != job_id


def test_nothing_is_left_of_a_receiver_that_has_all(
    store: JobStore, new_job: NewJobs, redis: Redis
) -> None:
    hooked(store, new_job, "https://a.example/hook")
    store.outbox.note(taken(store), Went.DELIVERED, TRY)
    make_due(redis)
    assert store.outbox.take(10, 30) == []
    assert redis.keys("fm:lane:*") == []
    assert not redis.exists("fm:deliveries")
