"""/v1/queues and /v1/workers, for operators."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from werkzeug.test import TestResponse

from api import Services
from shared.jobs.job import Progress, Stage
from shared.jobs.store import JobStore
from shared.jobs.workers import ServedModel, WorkerState
from tests.api.conftest import Authorised, Enrol

Submit = Callable[..., TestResponse]
Problem = Callable[[TestResponse], tuple[int, str]]

MODEL = "facemend-starter"
STARTER = ServedModel(MODEL, "e" * 64, 128, "Apache-2.0", "fp32", "torch", 500.0)


def queue(client: Authorised, name: str) -> dict[str, Any]:
    (found,) = (
        each for each in client.get("/v1/queues").get_json()["data"] if each["name"] == name
    )
    return dict(found)


def test_queues_of_known_models_are_listed_with_length_age_and_work(
    client: Authorised, submit: Submit, services: Services
) -> None:
    services.store.workers.announce("gpu-1", [STARTER])
    names = [each["name"] for each in client.get("/v1/queues").get_json()["data"]]
    assert names == [f"{MODEL}.high", f"{MODEL}.normal", f"{MODEL}.low"]
    assert queue(client, f"{MODEL}.normal") == {
        "object": "queue",
        "name": f"{MODEL}.normal",
        "model": MODEL,
        "pool": "default",
        "priority": "normal",
        "paused": False,
        "queued": 0,
        "oldest_s": None,
        "face_seconds": 0,
    }
    submit(client)
    submit(client)
    submit(client, {"priority": "low"})
    normal = queue(client, f"{MODEL}.normal")
    assert normal["queued"] == 2
    assert 0 <= normal["oldest_s"] < 60
    # One face a job, as long as none has succeeded; half a second a face.
    assert normal["face_seconds"] == pytest.approx(1.0)
    assert queue(client, f"{MODEL}.low")["face_seconds"] == pytest.approx(0.5)


def test_a_queue_is_paused_and_resumed(client: Authorised, submit: Submit, store: JobStore) -> None:
    job_id = submit(client).get_json()["id"]
    paused = client.post(f"/v1/queues/{MODEL}.normal/pause")
    assert paused.status_code == 200
    assert paused.get_json()["paused"] is True
    assert client.post(f"/v1/queues/{MODEL}.normal/pause").get_json() | {"oldest_s": 0} == (
        paused.get_json() | {"oldest_s": 0}
    )
    assert store.runs.claim(job_id, "w") is None
    assert client.get(f"/v1/restorations/{job_id}").get_json()["queue"]["eta_reason"] == "paused"
    assert client.post(f"/v1/queues/{MODEL}.normal/resume").get_json()["paused"] is False
    assert store.runs.claim(job_id, "w") is not None
    assert client.get("/v1/queues").get_json()["running"] == 1


@pytest.mark.parametrize("name", ["unknown.normal", f"{MODEL}.urgent", MODEL, "%2e%2e", "a:b.low"])
@pytest.mark.parametrize("action", ["pause", "resume"])
def test_an_unknown_queue_is_not_found(
    client: Authorised, problem: Problem, store: JobStore, name: str, action: str
) -> None:
    assert problem(client.post(f"/v1/queues/{name}/{action}")) == (404, "not-found")
    assert store.queues.paused() == set()


def test_workers_are_listed_with_what_they_do(
    client: Authorised, submit: Submit, store: JobStore
) -> None:
    state = WorkerState(
        device="cuda:0",
        places=4,
        places_in_use=1,
        fetches=16,
        fetches_in_use=0,
        faces_per_s=12.5,
        busy=0.8,
        memory_bytes=10**9,
        version="1.2.3",
    )
    store.workers.announce("gpu-2", [STARTER], state=state)
    store.workers.announce("gpu-3", [STARTER])
    job_id = submit(client).get_json()["id"]
    claim = store.runs.claim(job_id, "gpu-2")
    assert claim is not None
    store.runs.progress(job_id, claim.token, Progress(Stage.RESTORING, 1, 2))
    busy, idle = client.get("/v1/workers").get_json()["data"]
    assert (busy["name"], busy["models"], busy["device"]) == ("gpu-2", [MODEL], "cuda:0")
    assert (busy["places"], busy["busy"], busy["faces_per_s"]) == (4, 0.8, 12.5)
    (job,) = busy["jobs"]
    assert (job["restoration_id"], job["queue"]) == (job_id, f"{MODEL}.normal")
    assert job["progress"]["stage"] == "restoring"
    assert (idle["name"], idle["jobs"], idle["device"]) == ("gpu-3", [], None)


def test_the_id_of_another_tenants_job_is_not_shown(
    client: Authorised, enrol: Enrol, submit: Submit, store: JobStore
) -> None:
    store.workers.announce("gpu-2", [STARTER])
    job_id = submit(client).get_json()["id"]
    assert store.runs.claim(job_id, "gpu-2")
    (worker,) = enrol("globex").get("/v1/workers").get_json()["data"]
    assert [job["restoration_id"] for job in worker["jobs"]] == [None]


@pytest.mark.parametrize("path", ["/v1/queues", "/v1/workers"])
def test_operators_need_the_scope_admin(enrol: Enrol, problem: Problem, path: str) -> None:
    customer = enrol("acme", frozenset({"restorations:read", "restorations:write"}))
    assert problem(customer.get(path)) == (403, "forbidden")
