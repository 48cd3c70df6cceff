"""Idempotency-Key, as ``api.jobs.admission`` keeps its promise."""

from __future__ import annotations

import io
import threading
from collections.abc import Callable
from typing import Any

import pytest

from api import Services
from api.openapi import Application
from shared.jobs.store import JobStore
from shared.storage.bucket import ObjectStorage
from shared.storage.keys import file_key

Submit = Callable[..., Any]
Problem = Callable[[Any], tuple[int, str]]
PATH = "/v1/restorations"


def test_the_same_request_makes_one_job(
    client: Any, submit: Submit, store: JobStore, storage: ObjectStorage
) -> None:
    headers = {"Idempotency-Key": "order-4711"}
    first = submit(client, {"metadata": {"a": "1"}}, headers=headers)
    again = submit(client, {"metadata": {"a": "1"}, "priority": "normal"}, headers=headers)
    assert first.get_json()["id"] == again.get_json()["id"]
    assert (again.status_code, again.headers["Idempotent-Replayed"]) == (202, "true")
    assert "Idempotent-Replayed" not in first.headers
    assert again.headers["Location"] == first.headers["Location"]
    assert len(store.list("acme")[0]) == 1
    assert len(list(storage.list("tenants/acme/inputs/"))) == 1


def test_a_key_whose_job_is_erased_makes_no_second_one(
    client: Any, submit: Submit, succeed: Any, store: JobStore, problem: Problem
) -> None:
    headers = {"Idempotency-Key": "order-4711"}
    job_id = submit(client, headers=headers).get_json()["id"]
    succeed("acme", job_id)
    assert store.erase("acme", job_id)
    assert problem(submit(client, headers=headers)) == (404, "not-found")
    assert store.list("acme")[0] == []


def test_another_request_with_the_same_key_is_refused(
    client: Any, submit: Submit, problem: Problem
) -> None:
    headers = {"Idempotency-Key": "order-4711"}
    submit(client, {"metadata": {"a": "1"}}, headers=headers)
    answer = submit(client, {"metadata": {"a": "2"}}, headers=headers)
    assert problem(answer) == (422, "idempotency-mismatch")


def test_another_photo_with_the_same_key_is_refused(
    client: Any, photo: bytes, problem: Problem
) -> None:
    def send(data: bytes) -> Any:
        parts = {"image": (io.BytesIO(data), "photo.jpg")}
        return client.post(PATH, data=parts, headers={"Idempotency-Key": "k"})

    assert send(photo).status_code == 202
    assert problem(send(photo + b"\0")) == (422, "idempotency-mismatch")


def test_a_key_in_use_is_in_progress(
    client: Any, submit: Submit, problem: Problem, services: Services
) -> None:
    (key,) = services.keys.list("acme")
    services.store.begin_idempotent(key.id, "order-4711", "first request")
    answer = submit(client, headers={"Idempotency-Key": "order-4711"})
    # Which of the two is said depends on the body; both are no second job.
    assert problem(answer)[1] in {"idempotency-in-progress", "idempotency-mismatch"}


def test_many_at_once_make_one_job(
    app: Application, client: Any, photo: bytes, store: JobStore
) -> None:
    answers: list[Any] = []
    barrier = threading.Barrier(6)

    def send() -> None:
        guest = type(client)(app.test_client(), client.secret)
        parts = {"image": (io.BytesIO(photo), "photo.jpg")}
        barrier.wait()
        answers.append(guest.post(PATH, data=parts, headers={"Idempotency-Key": "k"}))

    threads = [threading.Thread(target=send) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(answers) == 6
    assert {answer.status_code for answer in answers} <= {202, 409}
    assert len({answer.get_json()["id"] for answer in answers if answer.status_code == 202}) == 1
    assert len(store.list("acme")[0]) == 1


def test_a_refused_request_gives_its_key_back(
    client: Any, storage: ObjectStorage, photo: bytes, problem: Problem
) -> None:
    headers, body = {"Idempotency-Key": "order-4711"}, {"input": {"key": "late.jpg"}}
    assert problem(client.post(PATH, json=body, headers=headers)) == (422, "input-not-found")
    storage.put(file_key("acme", "late.jpg"), photo, "image/jpeg")
    assert client.post(PATH, json=body, headers=headers).status_code == 202


def test_another_tenant_may_use_the_same_key(client: Any, enrol: Any, submit: Submit) -> None:
    headers = {"Idempotency-Key": "order-4711"}
    ours = submit(client, headers=headers).get_json()["id"]
    theirs = submit(enrol("globex"), headers=headers)
    assert theirs.status_code == 202
    assert theirs.get_json()["id"] != ours


@pytest.mark.parametrize("key", ["", "k" * 256, "with space", "umlaut-ä", "tab\there"])
def test_a_key_that_is_not_visible_ascii_is_malformed(
    client: Any, submit: Submit, problem: Problem, key: str
) -> None:
    answer = submit(client, headers={"Idempotency-Key": key})
    assert problem(answer) == (400, "invalid-request")


def test_a_key_of_255_characters_is_taken(client: Any, submit: Submit) -> None:
    assert submit(client, headers={"Idempotency-Key": "~" * 255}).status_code == 202
