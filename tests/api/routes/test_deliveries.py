from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from standardwebhooks.webhooks import Webhook

from api import Services
from shared.jobs.job import new_id
from shared.jobs.store import JobStore
from shared.webhooks.events import sign
from shared.webhooks.outbox import Went
from tests.jobs import TENANT, finish

Problem = Callable[[Any], tuple[int, str]]
URL = "https://receiver.example/hook"
TRY = {"at": 1_700_000_000.25, "status_code": None, "latency_ms": 12, "error": "no answer"}


@pytest.fixture
def dead(store: JobStore) -> Callable[[], str]:
    """Makes a job whose webhook was given up."""

    def dead() -> str:
        job_id = finish(store, URL)
        (delivery,) = store.outbox.take(10, 30)
        store.outbox.note(delivery, Went.GONE, TRY)
        return job_id

    return dead


# --- the log ---


def test_a_jobs_webhooks_are_shown_with_all_tries(client: Any, store: JobStore) -> None:
    job_id = finish(store, URL)
    (delivery,) = store.outbox.take(10, 30)
    store.outbox.note(delivery, Went.FAILED, TRY, 300)
    answer = client.get(f"/v1/restorations/{job_id}/deliveries")
    assert answer.status_code == 200
    (shown,) = answer.get_json()["data"]
    assert shown["id"] == delivery.id
    assert shown["restoration_id"] == job_id
    assert shown["event_id"] == delivery.event_id
    assert (shown["event"], shown["state"], shown["url"]) == ("restoration.failed", "pending", URL)
    assert (shown["tries"], shown["disabled"]) == (1, None)
    assert shown["next_try_at"] > shown["created_at"]
    assert shown["attempts"] == [
        {
            "attempt": 1,
            "at": "2023-11-14T22:13:20.250000Z",
            "status_code": None,
            "latency_ms": 12,
            "error": "no answer",
        }
    ]


def test_a_job_without_a_webhook_has_none(client: Any, store: JobStore) -> None:
    job_id = finish(store)
    assert client.get(f"/v1/restorations/{job_id}/deliveries").get_json() == {"data": []}


def test_a_disabled_endpoint_says_so(client: Any, dead: Callable[[], str]) -> None:
    (shown,) = client.get(f"/v1/restorations/{dead()}/deliveries").get_json()["data"]
    assert shown["state"] == "dead"
    assert shown["next_try_at"] is None
    assert shown["disabled"]["reason"] == "gone"
    assert client.get(f"/v1/deliveries/{shown['id']}").get_json() == shown


# --- dead letters and sending again ---


def test_dead_letters_are_listed_page_by_page_and_sent_again(
    client: Any, store: JobStore, dead: Callable[[], str]
) -> None:
    jobs = [dead() for _ in range(3)]
    first = client.get("/v1/deliveries?limit=2").get_json()
    rest = client.get(f"/v1/deliveries?limit=2&cursor={first['next_cursor']}").get_json()
    letters = first["data"] + rest["data"]
    assert [letter["restoration_id"] for letter in letters] == jobs[::-1]
    assert rest["next_cursor"] is None

    again = client.post(f"/v1/deliveries/{letters[0]['id']}/redeliver")
    assert again.status_code == 202
    assert again.get_json()["state"] == "pending"
    assert again.get_json()["event_id"] == letters[0]["event_id"]
    (taken,) = store.outbox.take(10, 30)
    assert taken.event_id == letters[0]["event_id"]
    assert len(client.get("/v1/deliveries").get_json()["data"]) == 2


@pytest.mark.parametrize("query", ["limit=0", "limit=101", "cursor=nonsense", "state=dead"])
def test_a_wrong_query_is_refused(client: Any, problem: Problem, query: str) -> None:
    assert problem(client.get(f"/v1/deliveries?{query}")) == (422, "invalid-request")


def test_another_tenants_delivery_is_missing_on_every_route(
    client: Any, enrol: Any, problem: Problem, store: JobStore, dead: Callable[[], str]
) -> None:
    (mine,) = client.get(f"/v1/restorations/{dead()}/deliveries").get_json()["data"]
    stranger = enrol("globex")
    for delivery_id in (mine["id"], new_id("dlv"), "dlv_x", "job_" + "0" * 32, "dlv_" + "F" * 32):
        for method, path in [
            ("GET", f"/v1/deliveries/{delivery_id}"),
            ("POST", f"/v1/deliveries/{delivery_id}/redeliver"),
        ]:
            assert problem(stranger.open(path, method=method)) == (404, "not-found")
    assert stranger.get("/v1/deliveries").get_json()["data"] == []
    assert store.outbox.take(10, 30) == []


# --- tests of receivers ---


def test_a_test_is_sent_through_the_same_outbox(client: Any, store: JobStore) -> None:
    answer = client.post("/v1/webhooks/test", json={"url": URL})
    assert answer.status_code == 202
    made = answer.get_json()
    assert (made["event"], made["state"], made["restoration_id"]) == (
        "webhook.test",
        "pending",
        None,
    )
    (delivery,) = store.outbox.take(10, 30)
    assert (delivery.id, delivery.tenant, delivery.url) == (made["id"], TENANT, URL)
    store.outbox.note(delivery, Went.DELIVERED, TRY | {"status_code": 204, "error": None})
    shown = client.get(answer.headers["Location"]).get_json()
    assert (shown["id"], shown["state"]) == (made["id"], "delivered")


@pytest.mark.parametrize(
    "url", ["ftp://a.example/", "http://user:pass@a.example/", "https://a.example/a b"]
)
def test_an_address_that_would_never_be_sent_to_is_refused(
    client: Any, problem: Problem, store: JobStore, url: str
) -> None:
    answer = client.post("/v1/webhooks/test", json={"url": url})
    assert problem(answer) == (422, "invalid-request")
    assert [error["pointer"] for error in answer.get_json()["errors"]] == ["/url"]
    assert store.counts()["deliveries_pending"] == 0


@pytest.mark.parametrize(
    ("body", "content_type", "told"),
    [
        (b'{"url": ', "application/json", (400, "invalid-request")),
        (b'{"url": "https://a.example/", "x": 1}', "application/json", (422, "invalid-request")),
        (b"{}", "application/json", (422, "invalid-request")),
        (b"url=https://a.example/", "text/plain", (415, "unsupported-media-type")),
        (b" " * 200_000, "application/json", (413, "payload-too-large")),
    ],
)
def test_a_body_that_is_no_request_is_refused(
    client: Any, problem: Problem, body: bytes, content_type: str, told: tuple[int, str]
) -> None:
    answer = client.post("/v1/webhooks/test", data=body, content_type=content_type)
    assert problem(answer) == told


# --- the secret ---


def test_the_secret_is_replaced_and_the_old_one_signs_for_a_day(
    client: Any, services: Services, caplog: pytest.LogCaptureFixture
) -> None:
    (old,) = services.keys.webhook_secrets(TENANT)
    answer = client.post("/v1/webhooks/secret")
    assert answer.status_code == 200
    assert answer.headers["Cache-Control"] == "private, no-store"
    new = answer.get_json()["secret"]
    assert services.keys.webhook_secrets(TENANT) == (new, old)
    until = datetime.fromisoformat(answer.get_json()["old_valid_until"])
    now = datetime.now(UTC)
    assert abs(until - now - timedelta(hours=24)) < timedelta(minutes=1)
    headers = sign((new, old), "evt_1", int(now.timestamp()), b"{}")
    for secret in (new, old):
        assert Webhook(secret).verify(b"{}", headers) == {}
    assert new not in caplog.text


def test_replaced_often_there_are_not_more_signatures_than_receivers_can_use(
    client: Any, services: Services
) -> None:
    made = [client.post("/v1/webhooks/secret").get_json()["secret"] for _ in range(6)]
    assert services.keys.webhook_secrets(TENANT) == tuple(made[:1:-1])


def test_only_an_admin_replaces_it(enrol: Any, problem: Problem, services: Services) -> None:
    secrets = services.keys.webhook_secrets(TENANT)
    usual = enrol(TENANT, frozenset({"restorations:read", "restorations:write"}))
    assert problem(usual.post("/v1/webhooks/secret")) == (403, "forbidden")
    assert services.keys.webhook_secrets(TENANT) == secrets
