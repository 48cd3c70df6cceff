from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import datetime
from typing import Any
from urllib.request import urlopen

import pytest
from redis import Redis

from api import Services
from shared.jobs.job import Job, Priority, Status
from shared.jobs.queues import QueueName
from shared.jobs.record import Outcome
from shared.jobs.store import JobStore
from shared.storage.bucket import ObjectStorage
from shared.storage.keys import input_key

Submit = Callable[..., Any]
Succeed = Callable[[str, str], Job]
Problem = Callable[[Any], tuple[int, str]]


def test_an_accepted_photo_has_a_job(
    client: Any, submit: Submit, storage: ObjectStorage, photo: bytes, store: JobStore
) -> None:
    answer = submit(client, {"metadata": {"order": "1"}, "options": {"strength": 0.5}})
    assert answer.status_code == 202
    job = answer.get_json()
    assert answer.headers["Location"] == f"/v1/restorations/{job['id']}"
    assert answer.headers["Retry-After"] == "1"
    assert (job["status"], job["metadata"]) == ("queued", {"order": "1"})
    assert job["options"]["strength"] == 0.5
    assert job["input"]["bytes"] == len(photo)
    assert storage.get(input_key("acme", job["id"]), max_bytes=10**7) == photo
    pinned = storage.head(input_key("acme", job["id"]))
    assert store.get("acme", job["id"]).source == {
        "key": pinned.key,
        "etag": pinned.etag,
        "bytes": len(photo),
    }


def test_the_doorbell_rings_in_the_queue_of_model_and_priority(
    client: Any, submit: Submit, redis: Redis, services: Services
) -> None:
    submit(client, {"priority": "high"})
    queue = QueueName(services.settings.default_model, Priority.HIGH).doorbells
    assert redis.llen(queue) == 1


def test_a_finished_job_has_a_url_of_its_picture(
    client: Any, submit: Submit, succeed: Succeed
) -> None:
    job_id = submit(client).get_json()["id"]
    succeed("acme", job_id)
    job = client.get(f"/v1/restorations/{job_id}").get_json()
    assert job["status"] == "succeeded"
    image = job["result"]["image"]
    with urlopen(image["url"]) as picture:
        assert picture.read() == b"picture"
    created, finished = (
        datetime.fromisoformat(job[name]) for name in ("created_at", "finished_at")
    )
    assert created <= finished


def test_an_unchanged_job_is_not_modified(client: Any, submit: Submit, store: JobStore) -> None:
    path = submit(client).headers["Location"]
    first = client.get(path)
    again = client.get(path, headers={"If-None-Match": first.headers["ETag"]})
    assert (again.status_code, again.data) == (304, b"")
    store.runs.claim(first.get_json()["id"], "worker-1")
    changed = client.get(path, headers={"If-None-Match": first.headers["ETag"]})
    assert (changed.status_code, changed.get_json()["status"]) == (200, "running")
    assert changed.headers["ETag"] != first.headers["ETag"]


def test_a_new_queue_position_changes_the_etag(
    client: Any, submit: Submit, store: JobStore
) -> None:
    ahead = submit(client).get_json()["id"]
    path = submit(client).headers["Location"]
    before = client.get(path)
    store.cancel("acme", ahead)
    after = client.get(path, headers={"If-None-Match": before.headers["ETag"]})
    assert after.status_code == 200
    assert after.get_json()["queue"]["position"] < before.get_json()["queue"]["position"]


def test_a_long_poll_ends_with_the_job(client: Any, submit: Submit, succeed: Succeed) -> None:
    job_id = submit(client).get_json()["id"]
    worker = threading.Timer(0.3, succeed, ("acme", job_id))
    worker.start()
    job = client.get(f"/v1/restorations/{job_id}?wait=30").get_json()
    worker.join()
    assert job["status"] == "succeeded"


def test_a_submission_that_waits_returns_the_finished_job(
    client: Any, submit: Submit, succeed: Succeed, store: JobStore
) -> None:
    def work() -> None:
        while not (jobs := store.page("acme")[0]):
            pass
        succeed("acme", jobs[0].id)

    worker = threading.Thread(target=work)
    worker.start()
    answer = submit(client, headers={"Prefer": "respond-async, wait=30"})
    worker.join()
    assert (answer.status_code, answer.get_json()["status"]) == (200, "succeeded")
    assert answer.headers["Preference-Applied"] == "wait=30"
    assert "Retry-After" not in answer.headers


def test_a_submission_whose_wait_ends_first_is_still_accepted(client: Any, submit: Submit) -> None:
    answer = submit(client, headers={"Prefer": "wait=1"})
    assert (answer.status_code, answer.get_json()["status"]) == (202, "queued")


@pytest.mark.parametrize("wait", ["61", "-1", "soon", "1.5", ""])
def test_an_invalid_wait_is_refused(
    client: Any, submit: Submit, problem: Problem, wait: str
) -> None:
    answer = client.get(f"{submit(client).headers['Location']}?wait={wait}")
    assert problem(answer) == (422, "invalid-request")
    assert answer.get_json()["errors"][0]["pointer"] == "/wait"


def test_jobs_are_listed_newest_first_page_by_page(client: Any, submit: Submit) -> None:
    ids = [submit(client).get_json()["id"] for _ in range(3)]
    first = client.get("/v1/restorations?limit=2").get_json()
    assert [job["id"] for job in first["data"]] == ids[:0:-1]
    rest = client.get(f"/v1/restorations?limit=2&cursor={first['next_cursor']}").get_json()
    assert [job["id"] for job in rest["data"]] == ids[:1]
    assert rest["next_cursor"] is None


def test_lists_are_filtered_by_status_and_model(
    client: Any, submit: Submit, succeed: Succeed
) -> None:
    done, waiting = (submit(client).get_json() for _ in range(2))
    succeed("acme", done["id"])

    def listed(query: str) -> list[str]:
        found = client.get(f"/v1/restorations?{query}").get_json()["data"]
        return [job["id"] for job in found]

    assert listed("status=queued") == [waiting["id"]]
    assert listed("status=succeeded") == [done["id"]]
    assert listed(f"model={done['model']}") == [waiting["id"], done["id"]]
    assert listed("model=another") == []


@pytest.mark.parametrize(
    ("query", "pointer"),
    [
        ("status=done", "/status"),
        ("limit=0", "/limit"),
        ("limit=101", "/limit"),
        ("limit=many", "/limit"),
        ("colour=red", "/colour"),
        ("cursor=xxxx", None),
        ("cursor=%00", None),
    ],
)
def test_a_list_with_a_wrong_parameter_is_refused(
    client: Any, problem: Problem, query: str, pointer: str | None
) -> None:
    answer = client.get(f"/v1/restorations?{query}")
    assert problem(answer) == (422, "invalid-request")
    if pointer:
        assert [error["pointer"] for error in answer.get_json()["errors"]] == [pointer]


def test_a_queued_job_is_cancelled_at_once(client: Any, submit: Submit) -> None:
    path = submit(client).headers["Location"]
    answer = client.post(f"{path}/cancel")
    assert (answer.status_code, answer.get_json()["status"]) == (202, "canceled")
    assert client.get(path).get_json()["status"] == "canceled"


def test_a_running_job_is_asked_to_stop(client: Any, submit: Submit, store: JobStore) -> None:
    job_id = submit(client).get_json()["id"]
    store.runs.claim(job_id, "worker-1")
    answer = client.post(f"/v1/restorations/{job_id}/cancel")
    assert (answer.status_code, answer.get_json()["status"]) == (202, "running")
    assert store.get("acme", job_id).cancel_requested


def test_a_job_that_has_ended_cannot_be_cancelled(
    client: Any, submit: Submit, succeed: Succeed, problem: Problem
) -> None:
    job_id = submit(client).get_json()["id"]
    succeed("acme", job_id)
    assert problem(client.post(f"/v1/restorations/{job_id}/cancel")) == (409, "conflict")


def test_a_failed_job_has_its_problem(client: Any, submit: Submit, store: JobStore) -> None:
    from shared.errors import CorruptImage

    job_id = submit(client).get_json()["id"]
    claim = store.runs.claim(job_id, "worker-1")
    assert claim
    error = CorruptImage("cut off after 12 bytes").problem()
    store.runs.finish(job_id, claim.token, Outcome(status=Status.FAILED, error=error))
    job = client.get(f"/v1/restorations/{job_id}").get_json()
    assert (job["status"], job["result"]) == ("failed", None)
    assert job["error"]["code"] == "corrupt-image"
    assert job["error"]["detail"] == "cut off after 12 bytes"


@pytest.mark.parametrize(
    "job_id",
    [
        "job_" + "0" * 32,
        "job_1",
        "x",
        "job_" + "0" * 32 + ":deliveries",
        "job_%00",
        "job_" + "A" * 32,
    ],
)
def test_any_unknown_id_is_not_found(client: Any, problem: Problem, job_id: str) -> None:
    answers = [
        client.get(f"/v1/restorations/{job_id}"),
        client.post(f"/v1/restorations/{job_id}/cancel"),
    ]
    for answer in answers:
        assert problem(answer) == (404, "not-found")
        assert answer.get_json()["detail"] == "There is nothing here"


def test_the_address_for_the_result_is_shown_without_its_signature(
    client: Any, submit: Submit, store: JobStore
) -> None:
    url = "https://bucket.example.com/a.png?X-Amz-Signature=secret"
    job = submit(client, {"output": {"store": {"url": url}}}).get_json()
    assert job["output"]["store"] == {"url": "https://bucket.example.com/a.png"}
    assert store.get("acme", job["id"]).request["output"]["store"] == {"url": url}


@pytest.mark.parametrize(
    "url", ["ftp://a.example/b", "https://user:word@a.example/b", "http://[::"]
)
def test_a_forbidden_address_for_the_result_is_named(
    client: Any, submit: Submit, problem: Problem, url: str
) -> None:
    answer = submit(client, {"output": {"store": {"url": url}}})
    assert problem(answer) == (422, "invalid-request")
    assert answer.get_json()["errors"][0]["pointer"] == "/output/store/url"
