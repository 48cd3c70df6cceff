from __future__ import annotations

import json
import socket
import time
from collections.abc import Callable
from datetime import datetime

import pytest
from redis import Redis
from standardwebhooks.webhooks import Webhook

from shared.jobs.job import Status
from shared.jobs.store import JobStore, Outcome
from shared.net.fetcher import Fetcher
from shared.settings import Settings
from shared.storage.bucket import ObjectStorage
from shared.telemetry import JsonLines
from shared.tenants.api_keys import KeyRing
from tests.jobs import TENANT, finish, make_due, only_delivery, take
from tests.origin import Origin, headers, http
from worker.notifier.delivery import Courier

SendDue = Callable[[], None]


@pytest.fixture
def keys(redis: Redis, settings: Settings) -> KeyRing:
    return KeyRing(redis, settings.api_key_pepper)


@pytest.fixture
def courier(store: JobStore, storage: ObjectStorage, keys: KeyRing) -> Courier:
    return Courier(
        store=store,
        storage=storage,
        keys=keys,
        fetcher=Fetcher(allow_private=True),
        timeout_s=10,
    )


@pytest.fixture
def send_due(store: JobStore, courier: Courier) -> SendDue:
    """Deliver what is due, once."""

    def send_due() -> None:
        for delivery in store.outbox.take(100, 60):
            courier.deliver(delivery)

    return send_due


def test_a_finished_job_is_told_once_signed_and_whole(
    store: JobStore, keys: KeyRing, send_due: SendDue, receiver: Origin
) -> None:
    job_id = finish(store, receiver.url("/hook"))
    send_due()
    send_due()
    (request,) = receiver.requests
    (secret,) = keys.webhook_secrets(TENANT)
    message = Webhook(secret).verify(request.split("\r\n\r\n")[1], headers(request))
    assert message["type"] == "restoration.failed"
    assert message["data"]["id"] == job_id
    assert message["data"]["status"] == "failed"
    assert message["data"]["metadata"] == {"album": "Großeltern"}
    delivery = only_delivery(store, job_id)
    assert delivery["state"] == "delivered"
    assert headers(request)["webhook-id"] == delivery["event_id"]
    assert [attempt["status_code"] for attempt in delivery["attempts"]] == [204]


def test_a_failed_try_is_repeated_after_five_seconds_with_the_same_id(
    store: JobStore, send_due: SendDue, receiver: Origin, redis: Redis
) -> None:
    receiver.answers["/hook"] = http("500 Oh no")
    job_id = finish(store, receiver.url("/hook"))
    before = time.time()
    send_due()
    delivery = only_delivery(store, job_id)
    assert delivery["state"] == "pending"
    assert before + 4 <= delivery["next_try_at"] <= time.time() + 6

    send_due()  # too early
    receiver.answers["/hook"] = http("200 OK")
    make_due(redis)
    send_due()
    delivery = only_delivery(store, job_id)
    assert delivery["state"] == "delivered"
    assert [attempt["status_code"] for attempt in delivery["attempts"]] == [500, 200]
    assert [headers(request)["webhook-id"] for request in receiver.requests] == [
        delivery["event_id"]
    ] * 2


def test_the_receivers_wish_for_patience_is_granted(
    store: JobStore, send_due: SendDue, receiver: Origin
) -> None:
    receiver.answers["/hook"] = http("429 Slowly", b"", "Retry-After: 600")
    job_id = finish(store, receiver.url("/hook"))
    before = time.time()
    send_due()
    assert only_delivery(store, job_id)["next_try_at"] >= before + 600


def test_gone_ends_it_at_once_and_nothing_more_is_sent_there(
    store: JobStore, send_due: SendDue, receiver: Origin, caplog: pytest.LogCaptureFixture
) -> None:
    receiver.answers["/hook"] = http("410 Gone")
    job_id = finish(store, receiver.url("/hook"))
    send_due()
    delivery = only_delivery(store, job_id)
    assert (delivery["state"], delivery["next_try_at"]) == ("dead", None)
    assert "it is disabled" in caplog.text
    caplog.clear()

    receiver.answers["/hook"] = http("200 OK")
    second = finish(store, receiver.url("/hook"))
    send_due()
    delivery = only_delivery(store, second)
    assert delivery["state"] == "dead"
    assert [attempt["error"] for attempt in delivery["attempts"]] == ["The endpoint is disabled"]
    assert len(receiver.requests) == 1
    assert "it is disabled" not in caplog.text


def test_a_redelivery_enables_the_endpoint_again(
    store: JobStore, send_due: SendDue, receiver: Origin, caplog: pytest.LogCaptureFixture
) -> None:
    receiver.answers["/hook"] = http("410 Gone")
    job_id = finish(store, receiver.url("/hook"))
    send_due()
    receiver.answers["/hook"] = http("200 OK")
    caplog.set_level("INFO")
    store.outbox.redeliver(TENANT, only_delivery(store, job_id)["id"])
    send_due()
    assert only_delivery(store, job_id)["state"] == "delivered"
    assert "well again" in caplog.text
    second = finish(store, receiver.url("/hook"))
    send_due()
    assert only_delivery(store, second)["state"] == "delivered"
    ids = [headers(request)["webhook-id"] for request in receiver.requests]
    assert ids[0] == ids[1] != ids[2]


def test_after_ten_tries_it_is_a_dead_letter(
    store: JobStore, send_due: SendDue, receiver: Origin, redis: Redis
) -> None:
    receiver.answers["/hook"] = http("503 Later")
    job_id = finish(store, receiver.url("/hook"))
    for _ in range(12):
        make_due(redis)
        send_due()
    delivery = only_delivery(store, job_id)
    assert (delivery["state"], len(delivery["attempts"])) == ("dead", 10)
    assert len(receiver.requests) == 10


def test_a_redirect_is_a_failure_and_not_followed(
    store: JobStore, send_due: SendDue, receiver: Origin
) -> None:
    receiver.answers["/hook"] = http("302 Found", b"", f"Location: {receiver.url('/elsewhere')}")
    job_id = finish(store, receiver.url("/hook"))
    send_due()
    assert only_delivery(store, job_id)["state"] == "pending"
    assert len(receiver.requests) == 1


def test_an_unreachable_receiver_is_logged_without_a_status(
    store: JobStore, send_due: SendDue
) -> None:
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))  # and nobody listens
        job_id = finish(store, f"http://127.0.0.1:{reserved.getsockname()[1]}/hook")
        send_due()
    delivery = only_delivery(store, job_id)
    assert delivery["state"] == "pending"
    (attempt,) = delivery["attempts"]
    assert (attempt["status_code"], attempt["error"]) == (None, "The server cannot be reached")


def test_a_private_receiver_is_never_connected_to_unless_allowed(
    store: JobStore, storage: ObjectStorage, keys: KeyRing, receiver: Origin
) -> None:
    job_id = finish(store, receiver.url("/hook"))
    strict = Fetcher(allow_private=False)
    courier = Courier(store=store, storage=storage, keys=keys, fetcher=strict, timeout_s=10)
    (delivery,) = store.outbox.take(100, 60)
    courier.deliver(delivery)
    assert receiver.requests == []
    assert only_delivery(store, job_id)["state"] == "pending"


def test_two_secrets_sign_while_one_is_replaced(
    store: JobStore, keys: KeyRing, send_due: SendDue, receiver: Origin
) -> None:
    (old,) = keys.webhook_secrets(TENANT)
    new = keys.rotate_webhook_secret(TENANT)
    finish(store, receiver.url("/hook"))
    send_due()
    (request,) = receiver.requests
    for secret in (old, new):
        assert Webhook(secret).verify(request.split("\r\n\r\n")[1], headers(request))


def test_a_job_erased_before_its_webhook_went_out_is_not_told(
    store: JobStore, courier: Courier, receiver: Origin
) -> None:
    job_id = finish(store, receiver.url("/hook"))
    (delivery,) = store.outbox.take(100, 60)
    store.erase(TENANT, job_id)
    courier.deliver(delivery)
    assert receiver.requests == []
    assert store.outbox.take(100, 60) == []


def test_a_delivery_that_another_sender_has_by_now_is_not_noted_twice(
    store: JobStore, courier: Courier, receiver: Origin, redis: Redis
) -> None:
    job_id = finish(store, receiver.url("/hook"))
    (late,) = store.outbox.take(100, 60)
    make_due(redis)
    (taken,) = store.outbox.take(100, 60)
    receiver.answers["/hook"] = http("500 Oh no")
    courier.deliver(late)
    receiver.answers["/hook"] = http("200 OK")
    courier.deliver(taken)
    assert [attempt["status_code"] for attempt in only_delivery(store, job_id)["attempts"]] == [200]


def test_a_test_is_signed_like_any_other_and_sent_once(
    store: JobStore, keys: KeyRing, send_due: SendDue, receiver: Origin, redis: Redis
) -> None:
    receiver.answers["/hook"] = http("500 Oh no")
    made = store.outbox.send_test(TENANT, receiver.url("/hook"))
    send_due()
    make_due(redis)
    send_due()
    (request,) = receiver.requests
    (secret,) = keys.webhook_secrets(TENANT)
    message = Webhook(secret).verify(request.split("\r\n\r\n")[1], headers(request))
    assert (message["type"], message["data"]) == ("webhook.test", {"delivery_id": made["id"]})
    seen = store.outbox.find(TENANT, made["id"])
    assert (seen["state"], [attempt["status_code"] for attempt in seen["attempts"]]) == (
        "dead",
        [500],
    )


def test_a_webhook_that_outlives_its_job_tells_of_it_without_the_result(
    store: JobStore, keys: KeyRing, send_due: SendDue, receiver: Origin
) -> None:
    job_id = finish(store, receiver.url("/hook"), Status.SUCCEEDED)
    store.expire(TENANT, job_id)
    send_due()
    (request,) = receiver.requests
    (secret,) = keys.webhook_secrets(TENANT)
    message = Webhook(secret).verify(request.split("\r\n\r\n")[1], headers(request))
    assert (message["type"], message["data"]["id"]) == ("restoration.succeeded", job_id)
    assert message["data"]["result"] is None
    assert message["data"]["metadata"] == {"album": "Großeltern"}


def test_the_log_of_a_try_keeps_its_own_fields(
    store: JobStore, send_due: SendDue, receiver: Origin, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    finish(store, receiver.url("/hook"))
    send_due()
    (line,) = (record for record in caplog.records if record.message.startswith("webhook "))
    shown = json.loads(JsonLines("notifier").format(line))
    assert datetime.fromisoformat(shown["at"]).tzinfo is not None
    assert (shown["event"], shown["status_code"]) == ("webhook restoration.failed: delivered", 204)
    assert shown["latency_ms"] >= 0


def test_a_message_that_cannot_be_written_uses_up_its_tries(
    store: JobStore, send_due: SendDue, receiver: Origin
) -> None:
    job_id = take(store, receiver.url("/hook"))
    claim = store.claim(job_id, "worker-1")
    assert claim
    store.finish(job_id, claim.token, Outcome(Status.SUCCEEDED, result={"image": "broken"}))
    send_due()
    (attempt,) = only_delivery(store, job_id)["attempts"]
    assert attempt["error"] == "The message could not be written"
    assert receiver.requests == []
