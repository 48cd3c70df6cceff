from __future__ import annotations

import json
import socket
import time
from collections.abc import Callable
from datetime import datetime
from typing import Any

import pytest
from redis import Redis
from standardwebhooks.webhooks import Webhook

from shared.jobs.job import Status
from shared.jobs.record import Outcome
from shared.jobs.store import JobStore
from shared.net.fetcher import Fetcher
from shared.redis.scripts import Scripts
from shared.settings import Settings
from shared.storage.bucket import ObjectStorage
from shared.telemetry import JsonLines
from shared.tenants.api_keys import KeyRing
from shared.webhooks.outbox import Outbox
from tests.jobs import TENANT, end_job, expire_job, make_due, new_job, only_delivery, queue_job
from tests.origin import Origin, headers, http
from worker.notifier.webhook_delivery import WebhookDelivery

SendDue = Callable[[], None]


@pytest.fixture
def keys(redis: Redis, settings: Settings) -> KeyRing:
    return KeyRing(Scripts(redis), settings.api_key_pepper)


@pytest.fixture
def webhook_delivery(
    store: JobStore, outbox: Outbox, storage: ObjectStorage, keys: KeyRing
) -> WebhookDelivery:
    return WebhookDelivery(
        store=store,
        outbox=outbox,
        storage=storage,
        keys=keys,
        fetcher=Fetcher(allow_private="all"),
        timeout_s=10,
    )


@pytest.fixture
def send_due(outbox: Outbox, webhook_delivery: WebhookDelivery) -> SendDue:
    """Make one attempt for each delivery that is due."""

    def send_due() -> None:
        for delivery in outbox.take(100, 60):
            webhook_delivery.deliver(delivery)

    return send_due


def test_a_finished_job_has_one_signed_webhook(
    store: JobStore, outbox: Outbox, keys: KeyRing, send_due: SendDue, receiver: Origin
) -> None:
    job_id = end_job(store, receiver.url("/hook"))
    send_due()
    send_due()
    (request,) = receiver.requests
    (secret,) = keys.webhook_secrets(TENANT)
    message = Webhook(secret).verify(request.split("\r\n\r\n")[1], headers(request))
    assert message["type"] == "restoration.failed"
    assert message["data"]["id"] == job_id
    assert message["data"]["status"] == "failed"
    assert message["data"]["metadata"] == {"album": "Großeltern"}
    delivery = only_delivery(outbox, job_id)
    assert delivery["state"] == "delivered"
    assert headers(request)["webhook-id"] == delivery["event_id"]
    assert [attempt["status_code"] for attempt in delivery["attempts"]] == [204]


def test_a_failed_attempt_is_repeated_after_five_seconds_with_the_same_id(
    store: JobStore, outbox: Outbox, send_due: SendDue, receiver: Origin, redis: Redis
) -> None:
    receiver.answers["/hook"] = http("500 Oh no")
    job_id = end_job(store, receiver.url("/hook"))
    before = time.time()
    send_due()
    delivery = only_delivery(outbox, job_id)
    assert delivery["state"] == "pending"
    assert before + 4 <= delivery["next_try_at"] <= time.time() + 6

    send_due()  # too early
    receiver.answers["/hook"] = http("200 OK")
    make_due(redis)
    send_due()
    delivery = only_delivery(outbox, job_id)
    assert delivery["state"] == "delivered"
    assert [attempt["status_code"] for attempt in delivery["attempts"]] == [500, 200]
    assert [headers(request)["webhook-id"] for request in receiver.requests] == [
        delivery["event_id"]
    ] * 2


def test_retry_after_of_the_receiver_is_respected(
    store: JobStore, outbox: Outbox, send_due: SendDue, receiver: Origin
) -> None:
    receiver.answers["/hook"] = http("429 Slowly", b"", "Retry-After: 600")
    job_id = end_job(store, receiver.url("/hook"))
    before = time.time()
    send_due()
    assert only_delivery(outbox, job_id)["next_try_at"] >= before + 600


def test_after_410_nothing_more_is_sent_to_the_endpoint(
    store: JobStore,
    outbox: Outbox,
    send_due: SendDue,
    receiver: Origin,
    caplog: pytest.LogCaptureFixture,
) -> None:
    receiver.answers["/hook"] = http("410 Gone")
    job_id = end_job(store, receiver.url("/hook"))
    send_due()
    delivery = only_delivery(outbox, job_id)
    assert (delivery["state"], delivery["next_try_at"]) == ("dead", None)
    assert "it is disabled" in caplog.text
    caplog.clear()

    receiver.answers["/hook"] = http("200 OK")
    second = end_job(store, receiver.url("/hook"))
    send_due()
    delivery = only_delivery(outbox, second)
    assert delivery["state"] == "dead"
    assert [attempt["error"] for attempt in delivery["attempts"]] == ["The endpoint is disabled"]
    assert len(receiver.requests) == 1
    assert "it is disabled" not in caplog.text


def test_a_redelivery_enables_the_endpoint_again(
    store: JobStore,
    outbox: Outbox,
    send_due: SendDue,
    receiver: Origin,
    caplog: pytest.LogCaptureFixture,
) -> None:
    receiver.answers["/hook"] = http("410 Gone")
    job_id = end_job(store, receiver.url("/hook"))
    send_due()
    receiver.answers["/hook"] = http("200 OK")
    caplog.set_level("INFO")
    outbox.redeliver(TENANT, only_delivery(outbox, job_id)["id"])
    send_due()
    assert only_delivery(outbox, job_id)["state"] == "delivered"
    assert "works again" in caplog.text
    second = end_job(store, receiver.url("/hook"))
    send_due()
    assert only_delivery(outbox, second)["state"] == "delivered"
    ids = [headers(request)["webhook-id"] for request in receiver.requests]
    assert ids[0] == ids[1] != ids[2]


def test_after_ten_attempts_it_is_a_dead_letter(
    store: JobStore, outbox: Outbox, send_due: SendDue, receiver: Origin, redis: Redis
) -> None:
    receiver.answers["/hook"] = http("503 Later")
    job_id = end_job(store, receiver.url("/hook"))
    for _ in range(12):
        make_due(redis)
        send_due()
    delivery = only_delivery(outbox, job_id)
    assert (delivery["state"], len(delivery["attempts"])) == ("dead", 10)
    assert len(receiver.requests) == 10


def test_a_redirect_is_a_failure_and_not_followed(
    store: JobStore, outbox: Outbox, send_due: SendDue, receiver: Origin
) -> None:
    receiver.answers["/hook"] = http("302 Found", b"", f"Location: {receiver.url('/elsewhere')}")
    job_id = end_job(store, receiver.url("/hook"))
    send_due()
    assert only_delivery(outbox, job_id)["state"] == "pending"
    assert len(receiver.requests) == 1


def test_an_unreachable_receiver_is_logged_without_a_status(
    store: JobStore, outbox: Outbox, send_due: SendDue
) -> None:
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))  # and nobody listens
        job_id = end_job(store, f"http://127.0.0.1:{reserved.getsockname()[1]}/hook")
        send_due()
    delivery = only_delivery(outbox, job_id)
    assert delivery["state"] == "pending"
    (attempt,) = delivery["attempts"]
    assert (attempt["status_code"], attempt["error"]) == (None, "The server cannot be reached")


def test_a_private_receiver_is_never_connected_to_unless_allowed(
    store: JobStore, outbox: Outbox, storage: ObjectStorage, keys: KeyRing, receiver: Origin
) -> None:
    job_id = end_job(store, receiver.url("/hook"))
    strict = Fetcher(allow_private="none")
    webhook_delivery = WebhookDelivery(
        store=store, outbox=outbox, storage=storage, keys=keys, fetcher=strict, timeout_s=10
    )
    (delivery,) = outbox.take(100, 60)
    webhook_delivery.deliver(delivery)
    assert receiver.requests == []
    assert only_delivery(outbox, job_id)["state"] == "pending"


def test_two_secrets_sign_while_one_is_replaced(
    store: JobStore, keys: KeyRing, send_due: SendDue, receiver: Origin
) -> None:
    (old,) = keys.webhook_secrets(TENANT)
    new = keys.rotate_webhook_secret(TENANT)
    end_job(store, receiver.url("/hook"))
    send_due()
    (request,) = receiver.requests
    for secret in (old, new):
        assert Webhook(secret).verify(request.split("\r\n\r\n")[1], headers(request))


def test_a_job_erased_before_its_webhook_has_none(
    store: JobStore, outbox: Outbox, webhook_delivery: WebhookDelivery, receiver: Origin
) -> None:
    job_id = end_job(store, receiver.url("/hook"))
    (delivery,) = outbox.take(100, 60)
    store.erase(TENANT, job_id)
    webhook_delivery.deliver(delivery)
    assert receiver.requests == []
    assert outbox.take(100, 60) == []


def test_a_delivery_that_another_notifier_has_is_not_recorded_twice(
    store: JobStore,
    outbox: Outbox,
    webhook_delivery: WebhookDelivery,
    receiver: Origin,
    redis: Redis,
) -> None:
    job_id = end_job(store, receiver.url("/hook"))
    (late,) = outbox.take(100, 60)
    make_due(redis)
    (taken,) = outbox.take(100, 60)
    receiver.answers["/hook"] = http("500 Oh no")
    webhook_delivery.deliver(late)
    receiver.answers["/hook"] = http("200 OK")
    webhook_delivery.deliver(taken)
    assert [attempt["status_code"] for attempt in only_delivery(outbox, job_id)["attempts"]] == [
        200
    ]


def test_a_test_is_signed_like_any_other_and_sent_once(
    outbox: Outbox, keys: KeyRing, send_due: SendDue, receiver: Origin, redis: Redis
) -> None:
    receiver.answers["/hook"] = http("500 Oh no")
    made = outbox.send_test(TENANT, receiver.url("/hook"))
    send_due()
    make_due(redis)
    send_due()
    (request,) = receiver.requests
    (secret,) = keys.webhook_secrets(TENANT)
    message = Webhook(secret).verify(request.split("\r\n\r\n")[1], headers(request))
    assert (message["type"], message["data"]) == ("webhook.test", {"delivery_id": made["id"]})
    seen = outbox.find(TENANT, made["id"])
    assert (seen["state"], [attempt["status_code"] for attempt in seen["attempts"]]) == (
        "dead",
        [500],
    )


def test_a_webhook_after_its_job_expired_has_no_result(
    store: JobStore, keys: KeyRing, send_due: SendDue, receiver: Origin, redis: Redis
) -> None:
    job_id = end_job(store, receiver.url("/hook"), Status.SUCCEEDED)
    expire_job(redis, store, job_id)
    send_due()
    (request,) = receiver.requests
    (secret,) = keys.webhook_secrets(TENANT)
    message = Webhook(secret).verify(request.split("\r\n\r\n")[1], headers(request))
    assert (message["type"], message["data"]["id"]) == ("restoration.succeeded", job_id)
    assert message["data"]["result"] is None
    assert message["data"]["metadata"] == {"album": "Großeltern"}


def test_the_log_of_an_attempt_has_its_own_fields(
    store: JobStore, send_due: SendDue, receiver: Origin, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    end_job(store, receiver.url("/hook"))
    send_due()
    (line,) = (record for record in caplog.records if record.message.startswith("webhook "))
    shown = json.loads(JsonLines("notifier").format(line))
    assert datetime.fromisoformat(shown["at"]).tzinfo is not None
    assert (shown["event"], shown["status_code"]) == ("webhook restoration.failed: delivered", 204)
    assert shown["latency_ms"] >= 0


def test_a_message_that_cannot_be_built_uses_up_its_attempts(
    store: JobStore, outbox: Outbox, send_due: SendDue, receiver: Origin
) -> None:
    job_id = queue_job(store, receiver.url("/hook"))
    claim = store.runs.claim(job_id, "worker-1")
    assert claim
    store.runs.finish(job_id, claim.token, Outcome(Status.SUCCEEDED, result={"image": "broken"}))
    send_due()
    (attempt,) = only_delivery(outbox, job_id)["attempts"]
    assert attempt["error"] == "The message could not be written"
    assert receiver.requests == []


def test_a_started_webhook_shows_the_running_job_also_after_its_end(
    store: JobStore, send_due: SendDue, receiver: Origin, outbox: Outbox, redis: Redis
) -> None:
    webhook = {"url": receiver.url("/hook"), "events": ["restoration.started"]}
    job = store.create(new_job(webhook=webhook))
    claim = store.runs.claim(job.id, "worker-1")
    assert claim
    store.runs.finish(job.id, claim.token, Outcome(Status.FAILED))
    send_due()
    outbox.redeliver(TENANT, only_delivery(outbox, job.id)["id"])
    send_due()
    sent = [json.loads(request.split("\r\n\r\n")[1])["data"] for request in receiver.requests]
    assert len(sent) == 2
    for data in sent:
        assert (data["status"], data["attempt"]) == ("running", 1)
        assert (data["progress"], data["finished_at"], data["error"]) == (None, None, None)


def test_each_line_names_tenant_job_and_the_request_that_created_it(
    store: JobStore, send_due: SendDue, receiver: Origin, log_lines: Any
) -> None:
    webhook = {"url": receiver.url("/hook"), "events": ["restoration.canceled"]}
    job = store.create(new_job(webhook=webhook, request_id="req_1"))
    store.cancel(TENANT, job.id)
    send_due()
    (line,) = log_lines()
    assert line["event"] == "webhook restoration.canceled: delivered"
    assert (line["job_id"], line["tenant"], line["request_id"]) == (job.id, TENANT, "req_1")
