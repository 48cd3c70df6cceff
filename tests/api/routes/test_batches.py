"""Many photos in one request: items are checked alone, and become ordinary jobs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import httpx
import pytest
from redis import Redis

from api import Services
from shared.batches.store import STEP, BatchStore
from shared.errors import CorruptImage, Unavailable
from shared.jobs.job import Release, Status
from shared.jobs.record import Outcome
from shared.jobs.store import JobStore
from shared.manifests.batches import BatchManifests
from shared.settings import Settings
from shared.storage.bucket import ObjectStorage
from shared.storage.keys import BATCH_MANIFESTS, file_key
from tests.api.conftest import Authorised, Enrol
from tests.shared.conftest import at_once
from worker.notifier.rebuilder import Rebuilder

Problem = Callable[[Any], tuple[int, str]]
Create = Callable[..., dict[str, Any]]

URL = {"input": {"url": "http://127.0.0.1:9/old.jpg"}}


@pytest.fixture
def create(client: Authorised) -> Create:
    def create(items: list[Any], **more: Any) -> dict[str, Any]:
        answer = client.post("/v1/batches", json={"items": items, **more})
        assert answer.status_code == 202, answer.data
        found: dict[str, Any] = answer.get_json()
        return found

    return create


def items_of(client: Authorised, batch_id: str) -> list[dict[str, Any]]:
    """All items of a batch, from all pages."""
    found: list[dict[str, Any]] = []
    query = "?limit=7"
    while True:
        page = client.get(f"/v1/batches/{batch_id}/items{query}").get_json()
        found += page["data"]
        if page["next_cursor"] is None:
            return found
        query = f"?limit=7&cursor={page['next_cursor']}"


def end(store: JobStore, job_id: str, status: Status) -> None:
    claim = store.runs.claim(job_id, "worker-1")
    assert claim is not None
    error = CorruptImage().problem() if status is Status.FAILED else None
    store.runs.finish(claim.job.id, claim.token, Outcome(status, error=error))


# --- creating -------------------------------------------------------------------------------


def test_each_item_becomes_a_job_in_the_order_of_the_request(
    client: Authorised, create: Create
) -> None:
    batch = create([URL | {"metadata": {"n": str(n)}} for n in range(45)])
    assert (batch["object"], batch["status"]) == ("batch", "queued")
    assert batch["counts"]["total"] == batch["counts"]["queued"] == 45
    items = items_of(client, batch["id"])
    assert [item["index"] for item in items] == list(range(45))
    assert [item["restoration"]["metadata"]["n"] for item in items] == list(map(str, range(45)))
    job = client.get(f"/v1/restorations/{items[7]['restoration_id']}").get_json()
    assert (job["status"], job["metadata"]) == ("queued", {"n": "7"})


def test_the_jobs_start_in_the_order_of_the_items(
    client: Authorised, create: Create, store: JobStore
) -> None:
    batch = create([URL] * (STEP + 5))
    ids = [item["restoration_id"] for item in items_of(client, batch["id"])]
    claims = [store.runs.claim(ids[0], "w") for _ in ids]
    assert [claim and claim.job.id for claim in claims] == ids


def test_an_item_gets_the_defaults_that_it_leaves_out(client: Authorised, create: Create) -> None:
    batch = create(
        [URL, URL | {"options": {"strength": 0.5}, "metadata": {"b": "2"}, "priority": "high"}],
        defaults={
            "options": {"strength": 0.9, "seed": 7},
            "output": {"format": "png"},
            "metadata": {"a": "1"},
        },
    )
    first, second = (item["restoration"] for item in items_of(client, batch["id"]))
    assert (first["options"]["strength"], first["options"]["seed"]) == (0.9, 7)
    assert (second["options"]["strength"], second["options"]["seed"]) == (0.5, 7)
    assert first["output"]["format"] == second["output"]["format"] == "png"
    assert second["metadata"] == {"a": "1", "b": "2"}


def test_objects_and_uploads_are_bound_to_their_present_version(
    client: Authorised, create: Create, store: JobStore, storage: ObjectStorage, photo: bytes
) -> None:
    stored = {f"album/{n}.jpg": f"{n}".encode() * 9 for n in range(30)}
    for name, data in stored.items():
        storage.put(file_key("acme", name), data, "image/jpeg")
    wanted = {"content_type": "image/jpeg", "bytes": len(photo)}
    upload = client.post("/v1/uploads", json=wanted).get_json()
    httpx.post(upload["url"], data=upload["fields"], files={"file": photo}).raise_for_status()
    batch = create(
        [
            *({"input": {"key": name}} for name in stored),
            {"input": {"upload_id": upload["upload_id"]}},
        ]
    )
    assert batch["counts"]["queued"] == 31
    for item in items_of(client, batch["id"]):
        source = store.get("acme", item["restoration_id"]).source
        found = storage.head(source["key"])
        assert source == {"key": found.key, "etag": found.etag, "bytes": found.bytes}


def test_a_batch_survives_if_the_request_is_interrupted_after_its_record(
    client: Authorised, create: Create, services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> int:
        raise Unavailable

    with monkeypatch.context() as patch:
        patch.setattr(services.batches, "create_jobs", fail)
        batch = create([URL] * 3)
    assert batch["counts"]["queued"] == 3
    assert [item["status"] for item in items_of(client, batch["id"])] == ["queued"] * 3


# --- wrong items ----------------------------------------------------------------------------


def test_a_wrong_item_is_rejected_and_the_others_run(
    client: Authorised, create: Create, enrol: Enrol, storage: ObjectStorage, settings: Settings
) -> None:
    storage.put(file_key("globex", "theirs.jpg"), b"x", "image/jpeg")
    storage.put(file_key("acme", "big.jpg"), bytes(settings.max_input_bytes + 1), "image/jpeg")
    wrong: list[tuple[dict[str, Any], str, str | None]] = [
        ({}, "invalid-request", "/input"),
        (URL | {"options": {"strength": 2}}, "invalid-request", "/options/strength"),
        (URL | {"model": "no-such-model"}, "invalid-request", "/model"),
        (URL | {"unknown": 1}, "invalid-request", "/unknown"),
        (URL | {"webhook": {"url": "ftp://a.example/"}}, "invalid-request", "/webhook/url"),
        (URL | {"output": {"key": "../a"}}, "invalid-request", "/output/key"),
        ({"input": {"url": "ftp://a.example/b.jpg"}}, "input-forbidden", None),
        ({"input": {"key": "missing.jpg"}}, "input-not-found", None),
        ({"input": {"key": "../globex/files/theirs.jpg"}}, "input-not-found", None),
        ({"input": {"key": "big.jpg"}}, "input-too-large", None),
        ({"input": {"upload_id": "upl_" + "0" * 32}}, "input-not-found", None),
        ({"input": {"upload_id": "upl_" + "f" * 32}}, "input-not-found", None),
    ]
    batch = create([URL, *(item for item, _, _ in wrong), URL])
    assert (batch["counts"]["queued"], batch["counts"]["rejected"]) == (2, len(wrong))
    first, *rejected, last = items_of(client, batch["id"])
    assert first["status"] == last["status"] == "queued"
    for item, (_, code, pointer) in zip(rejected, wrong, strict=True):
        assert (item["status"], item["restoration_id"]) == ("rejected", None)
        assert item["error"]["code"] == code
        pointers = [error["pointer"] for error in item["error"].get("errors") or ()]
        assert pointers == ([pointer] if pointer else [])


def test_an_upload_is_used_by_one_item(client: Authorised, create: Create, photo: bytes) -> None:
    wanted = {"content_type": "image/jpeg", "bytes": len(photo)}
    upload = client.post("/v1/uploads", json=wanted).get_json()
    httpx.post(upload["url"], data=upload["fields"], files={"file": photo}).raise_for_status()
    item = {"input": {"upload_id": upload["upload_id"]}}
    for expected in (["queued", "rejected"], ["rejected", "rejected"]):
        items = items_of(client, create([item, item])["id"])
        assert [item["status"] for item in items] == expected
    assert items[0]["error"]["code"] == "conflict"
    alone = client.post("/v1/restorations", json=item)
    assert alone.status_code == 409


def test_a_batch_of_wrong_items_has_ended_at_once(create: Create) -> None:
    batch = create([{}, {"input": {}}])
    assert (batch["status"], batch["counts"]["rejected"]) == ("completed", 2)
    assert batch["finished_at"] is not None


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({"items": []}, "/items"),
        ({"items": [URL] * 1001}, "/items"),
        ({"items": ["a.jpg"]}, "/items/0"),
        ({"items": [URL], "defaults": {"options": {"strength": 2}}}, "/defaults/options/strength"),
        ({"items": [URL], "defaults": {"output": {"key": "a"}}}, "/defaults/output/key"),
        ({"items": [URL], "defaults": {"input": {"key": "a"}}}, "/defaults/input"),
        ({"items": [URL], "webhook": {"url": "ftp://a.example/"}}, "/webhook/url"),
        ({"items": [URL], "webhook": {"url": "http://a.example", "events": []}}, "/webhook/events"),
        ({"items": [URL], "name": "x"}, "/name"),
    ],
)
def test_a_request_that_is_wrong_as_a_whole_makes_no_batch(
    client: Authorised,
    problem: Problem,
    body: dict[str, Any],
    pointer: str,
    storage: ObjectStorage,
) -> None:
    answer = client.post("/v1/batches", json=body)
    assert problem(answer) == (422, "invalid-request")
    assert [error["pointer"] for error in answer.get_json()["errors"]] == [pointer]
    assert list(storage.list("")) == []


# --- limits ---------------------------------------------------------------------------------


def test_a_thousand_items_are_one_request(client: Authorised, create: Create) -> None:
    assert create([URL] * 1000)["counts"]["queued"] == 1000


def test_a_batch_that_does_not_fit_into_the_quota_is_refused_as_a_whole(
    client: Authorised, problem: Problem, services: Services, storage: ObjectStorage
) -> None:
    small = services.settings.model_copy(update={"max_queued_per_tenant": 5})
    services.batches._settings = small
    answer = client.post("/v1/batches", json={"items": [URL] * 6})
    assert problem(answer) == (429, "queue-full")
    assert list(storage.list("")) == []
    assert client.post("/v1/batches", json={"items": [URL] * 5}).status_code == 202


def test_a_token_pays_for_each_item(client: Authorised, problem: Problem) -> None:
    secret = client.post("/v1/tokens", json={"jobs": 3}).get_json()["token"]
    token = Authorised(client.client, secret)
    four = token.post("/v1/batches", json={"items": [URL] * 4})
    assert problem(four) == (403, "forbidden")
    assert token.post("/v1/batches", json={"items": [URL] * 3}).status_code == 202
    assert problem(token.post("/v1/restorations", json=URL)) == (403, "forbidden")


def test_a_batch_of_another_tenant_is_not_found(
    create: Create, enrol: Enrol, problem: Problem
) -> None:
    batch_id, theirs = create([URL])["id"], enrol("globex")
    for method, path in (("GET", ""), ("GET", "/items"), ("POST", "/cancel")):
        answer = theirs.open(f"/v1/batches/{batch_id}{path}", method=method)
        assert problem(answer) == (404, "not-found")


@pytest.mark.parametrize("batch_id", ["bat_1", "job_" + "0" * 32, "bat_" + "0" * 32])
def test_an_unknown_batch_is_not_found(client: Authorised, problem: Problem, batch_id: str) -> None:
    assert problem(client.get(f"/v1/batches/{batch_id}")) == (404, "not-found")


def test_a_cursor_of_another_batch_is_refused(
    client: Authorised, create: Create, problem: Problem
) -> None:
    one, other = create([URL] * 3)["id"], create([URL] * 3)["id"]
    cursor = client.get(f"/v1/batches/{one}/items?limit=1").get_json()["next_cursor"]
    answer = client.get(f"/v1/batches/{other}/items?cursor={cursor}")
    assert problem(answer) == (422, "invalid-request")


# --- the same request again -----------------------------------------------------------------


def test_the_same_request_again_makes_no_second_batch(
    client: Authorised, problem: Problem, store: JobStore
) -> None:
    headers = {"Idempotency-Key": "archive-1"}
    body = {"items": [URL] * 3}
    first, again = (client.post("/v1/batches", json=body, headers=headers) for _ in range(2))
    assert first.get_json()["id"] == again.get_json()["id"]
    assert again.headers["Idempotent-Replayed"] == "true"
    assert len(store.page("acme")[0]) == 3
    other = client.post("/v1/batches", json={"items": [URL]}, headers=headers)
    assert problem(other) == (422, "idempotency-mismatch")


def test_requests_with_one_key_at_the_same_time_make_one_batch(
    client: Authorised, store: JobStore, storage: ObjectStorage
) -> None:
    headers = {"Idempotency-Key": "archive-1"}
    body = {"items": [URL] * 3}
    answers = at_once(5, lambda _: client.post("/v1/batches", json=body, headers=headers))
    assert {answer.status_code for answer in answers} <= {202, 409}
    assert len({answer.get_json()["id"] for answer in answers if answer.status_code == 202}) == 1
    assert len(store.page("acme")[0]) == 3
    assert len(list(storage.list(BATCH_MANIFESTS))) == 1


# --- counts ---------------------------------------------------------------------------------


def test_the_counts_follow_the_jobs(client: Authorised, create: Create, store: JobStore) -> None:
    batch = create([*[URL] * 4, {}])
    path = f"/v1/batches/{batch['id']}"
    ids = [item["restoration_id"] for item in items_of(client, batch["id"])]
    end(store, ids[0], Status.SUCCEEDED)
    end(store, ids[1], Status.FAILED)
    running = store.runs.claim(ids[2], "worker-1")
    assert running is not None
    now = client.get(path).get_json()
    assert (now["status"], now["finished_at"]) == ("running", None)
    assert now["counts"] == {
        "total": 5,
        "queued": 1,
        "running": 1,
        "succeeded": 1,
        "failed": 1,
        "canceled": 0,
        "rejected": 1,
        "erased": 0,
    }
    client.post(f"/v1/restorations/{ids[3]}/cancel")
    client.open(f"/v1/restorations/{ids[0]}", method="DELETE")
    store.runs.finish(ids[2], running.token, Outcome(Status.SUCCEEDED))
    done = client.get(path).get_json()
    assert done["status"] == "completed"
    assert [done["counts"][name] for name in ("succeeded", "failed", "canceled", "erased")] == [
        1,
        1,
        1,
        1,
    ]
    assert [item["status"] for item in items_of(client, batch["id"])] == [
        *("erased", "failed", "succeeded", "canceled", "rejected")
    ]


def test_a_released_job_counts_as_queued_again(
    client: Authorised, create: Create, store: JobStore
) -> None:
    batch = create([URL])
    (item,) = items_of(client, batch["id"])
    claim = store.runs.claim(item["restoration_id"], "worker-1")
    assert claim is not None
    store.runs.release(claim.job.id, claim.token, Release.DRAIN)
    counts = client.get(f"/v1/batches/{batch['id']}").get_json()["counts"]
    assert (counts["queued"], counts["running"]) == (1, 0)


def test_a_retry_opens_the_batch_again(client: Authorised, create: Create, store: JobStore) -> None:
    batch = create([URL])
    path = f"/v1/batches/{batch['id']}"
    (item,) = items_of(client, batch["id"])
    end(store, item["restoration_id"], Status.FAILED)
    assert client.get(path).get_json()["status"] == "completed"
    client.post(f"/v1/restorations/{item['restoration_id']}/retry")
    again = client.get(path).get_json()
    assert (again["status"], again["counts"]["queued"]) == ("running", 1)
    end(store, item["restoration_id"], Status.SUCCEEDED)
    done = client.get(path).get_json()
    assert (done["status"], done["counts"]["succeeded"]) == ("completed", 1)


# --- canceling ------------------------------------------------------------------------------


def test_a_cancel_ends_what_waits_and_asks_what_runs_to_stop(
    client: Authorised, create: Create, store: JobStore
) -> None:
    batch = create([URL] * (STEP + 2))
    ids = [item["restoration_id"] for item in items_of(client, batch["id"])]
    running = store.runs.claim(ids[0], "worker-1")
    assert running is not None
    answer = client.post(f"/v1/batches/{batch['id']}/cancel")
    assert answer.status_code == 202
    assert answer.get_json()["status"] == "running"
    assert answer.get_json()["counts"]["canceled"] == STEP + 1
    store.runs.finish(ids[0], running.token, Outcome(Status.SUCCEEDED))
    done = client.get(f"/v1/batches/{batch['id']}").get_json()
    assert (done["status"], done["counts"]["canceled"]) == ("canceled", STEP + 2)


def test_a_batch_that_has_ended_cannot_be_canceled(
    client: Authorised, create: Create, problem: Problem
) -> None:
    batch = create([{}])
    answer = client.post(f"/v1/batches/{batch['id']}/cancel")
    assert problem(answer) == (409, "conflict")


def test_a_canceled_batch_has_ended_and_one_that_still_works_can_be_canceled_again(
    client: Authorised, create: Create, store: JobStore, problem: Problem
) -> None:
    batch = create([URL] * (STEP + 2))
    running = items_of(client, batch["id"])[0]["restoration_id"]
    assert store.runs.claim(running, "worker-1") is not None
    for _ in range(2):
        answer = client.post(f"/v1/batches/{batch['id']}/cancel")
        assert (answer.status_code, answer.get_json()["status"]) == (202, "running")
    other = create([URL] * (STEP + 2))
    answer = client.post(f"/v1/batches/{other['id']}/cancel")
    assert (answer.status_code, answer.get_json()["status"]) == (202, "canceled")
    assert answer.get_json()["counts"]["canceled"] == STEP + 2
    again = client.post(f"/v1/batches/{other['id']}/cancel")
    assert problem(again) == (409, "conflict")


# --- erasing --------------------------------------------------------------------------------


def test_an_erased_item_stays_erased_when_redis_is_lost_and_its_request_is_gone(
    client: Authorised, create: Create, store: JobStore, storage: ObjectStorage, redis: Redis
) -> None:
    """The batch is open: its manifest, from which it is restored, had the item."""
    sources = [{"input": {"url": f"http://127.0.0.1:9/{number}.jpg"}} for number in range(4)]
    batch = create(sources)
    ids = [item["restoration_id"] for item in items_of(client, batch["id"])]
    for erased in (ids[1], ids[3]):
        assert client.open(f"/v1/restorations/{erased}", method="DELETE").status_code == 204
    kept = b"".join(storage.get(one.key, max_bytes=10**6) for one in storage.list(BATCH_MANIFESTS))
    assert [f"/{number}.jpg".encode() in kept for number in range(4)] == [True, False, True, False]
    redis.flushdb()
    Rebuilder(store, storage).restore_all()
    batches = BatchStore.beside(store)
    restored = batches.get("acme", batch["id"])
    assert (restored.counts.queued, restored.counts.erased, restored.total) == (2, 2, 4)
    found = batches.items("acme", batch["id"], 0, 9)
    assert [item.job is not None for item in found] == [True, False, True, False]
    for job_id in (ids[0], ids[2]):
        end(store, job_id, Status.FAILED)
    assert batches.get("acme", batch["id"]).finished_at is not None
    BatchManifests(storage).remove("acme", batch["id"])
    assert list(storage.list(BATCH_MANIFESTS)) == []


def test_items_can_be_erased_at_the_same_time(
    client: Authorised, create: Create, store: JobStore, storage: ObjectStorage, redis: Redis
) -> None:
    batch = create([URL] * 8)
    ids = [item["restoration_id"] for item in items_of(client, batch["id"])]
    paths = [f"/v1/restorations/{job_id}" for job_id in ids]
    answers = at_once(8, lambda n: client.open(paths[n], method="DELETE").status_code)
    assert answers == [204] * 8
    redis.flushdb()
    Rebuilder(store, storage).restore_all()
    assert store.page("acme", status=None, model=None, limit=9, cursor=None)[0] == []
    assert BatchStore.beside(store).get("acme", batch["id"]).counts.erased == 8


# --- cost -----------------------------------------------------------------------------------


def test_no_script_of_a_batch_creates_more_than_some_jobs(create: Create, redis: Redis) -> None:
    redis.config_resetstat()
    create([URL] * 100)
    calls = redis.info("commandstats")["cmdstat_evalsha"]["calls"]
    assert calls >= 100 / STEP
