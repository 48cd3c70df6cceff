from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import pytest

from api import Services, create_app
from shared.jobs.job import Job, Status
from shared.jobs.store import Beat, JobStore, Outcome
from shared.settings import Settings
from shared.storage.bucket import ObjectStorage
from shared.storage.keys import file_key, input_key, result_key
from tests.api.conftest import Authorised


def gone(client: Any, job_id: str, storage: ObjectStorage) -> bool:
    """Neither the record nor any object is left."""
    return client.get(f"/v1/restorations/{job_id}").status_code == 404 and not [
        stored.key for stored in storage.list("") if job_id in stored.key
    ]


def test_an_erased_job_leaves_nothing(
    client: Any,
    submit: Any,
    succeed: Callable[[str, str], Job],
    storage: ObjectStorage,
    redis: Any,
) -> None:
    job_id = submit(client).get_json()["id"]
    succeed("acme", job_id)
    answer = client.open(f"/v1/restorations/{job_id}", method="DELETE")
    assert (answer.status_code, answer.data) == (204, b"")
    assert gone(client, job_id, storage)
    assert client.get("/v1/restorations").get_json()["data"] == []
    assert {key for key in redis.keys("*") if job_id in key} == {f"fm:gone:{job_id}"}


def test_a_queued_job_is_erased_and_never_runs(
    client: Any, submit: Any, storage: ObjectStorage, store: JobStore
) -> None:
    job_id = submit(client).get_json()["id"]
    client.open(f"/v1/restorations/{job_id}", method="DELETE")
    assert store.claim(job_id, "worker-1") is None
    assert gone(client, job_id, storage)


def test_a_run_that_goes_on_is_fenced(
    client: Any, submit: Any, storage: ObjectStorage, store: JobStore
) -> None:
    job_id = submit(client).get_json()["id"]
    claim = store.claim(job_id, "worker-1")
    assert claim is not None
    storage.put(result_key("acme", job_id, claim.token, "restored.png"), b"half", "image/png")
    assert client.open(f"/v1/restorations/{job_id}", method="DELETE").status_code == 204
    assert store.beat(job_id, claim.token) is Beat.FENCED
    assert not store.finish(job_id, claim.token, Outcome(Status.SUCCEEDED, result={}))
    assert gone(client, job_id, storage)


def test_objects_of_the_customers_own_stay(
    client: Any, storage: ObjectStorage, photo: bytes
) -> None:
    own = file_key("acme", "album/1912.jpg")
    storage.put(own, photo, "image/jpeg")
    job_id = client.post("/v1/restorations", json={"input": {"key": "album/1912.jpg"}}).get_json()[
        "id"
    ]
    client.open(f"/v1/restorations/{job_id}", method="DELETE")
    assert storage.get(own, max_bytes=10**7) == photo


def test_twice_is_not_found(client: Any, submit: Any, problem: Any) -> None:
    path = submit(client).headers["Location"]
    assert client.open(path, method="DELETE").status_code == 204
    assert problem(client.open(path, method="DELETE")) == (404, "not-found")


def test_other_tenants_jobs_are_not_there(
    client: Any, enrol: Any, submit: Any, problem: Any
) -> None:
    path = submit(client).headers["Location"]
    assert problem(enrol("other").open(path, method="DELETE")) == (404, "not-found")
    assert client.get(path).status_code == 200


def test_while_the_storage_is_away_the_record_stays_and_erasing_can_be_repeated(
    client: Any, submit: Any, services: Services, settings: Settings, problem: Any
) -> None:
    job_id = submit(client).get_json()["id"]
    away = settings.model_copy(update={"s3_endpoint_url": "http://127.0.0.1:9"})
    lame = dataclasses.replace(services, storage=ObjectStorage(away))
    answer = Authorised(create_app(lame).test_client(), client.secret).open(
        f"/v1/restorations/{job_id}", method="DELETE"
    )
    assert problem(answer) == (503, "unavailable")
    assert client.get(f"/v1/restorations/{job_id}").get_json()["status"] == "canceled"
    assert client.open(f"/v1/restorations/{job_id}", method="DELETE").status_code == 204
    assert input_key("acme", job_id) not in {one.key for one in services.storage.list("")}


@pytest.mark.parametrize("job_id", ["job_" + "0" * 32, "x", "job_" + "0" * 32 + ":spec"])
def test_unknown_ids_are_not_found(client: Any, problem: Any, job_id: str) -> None:
    assert problem(client.open(f"/v1/restorations/{job_id}", method="DELETE"))[0] == 404
