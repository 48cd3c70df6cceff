"""The steps of a request, in order. ``tests/shared/model`` kills it between them."""

from __future__ import annotations

import dataclasses
import io

import pytest

from api import Services, create_app
from shared.jobs.job import Status
from shared.jobs.record import Outcome
from shared.manifests.manifests import Manifests
from shared.tenants.api_keys import ALL_SCOPES
from tests.api.conftest import Authorised
from tests.shared.model.caller import StepOrders
from tests.shared.model.watched import Watched, WatchedStorage

STEP_ORDERS = StepOrders()


@pytest.fixture
def steps() -> list[str]:
    return []


@pytest.fixture
def watched(services: Services, steps: list[str]) -> Authorised:
    """A client of an API whose calls of store, storage and doorbell are noted in ``steps``."""
    storage = WatchedStorage(services.storage, steps)
    found = dataclasses.replace(
        services,
        store=Watched(services.store, steps),
        storage=storage,
        manifests=Manifests(storage),
        doorbell=Watched(services.doorbell, steps),
    )
    _, secret = services.keys.create("acme", "key", ALL_SCOPES)
    return Authorised(create_app(found).test_client(), secret)


def submit(watched: Authorised, photo: bytes) -> str:
    part = (io.BytesIO(photo), "photo.png")
    answer = watched.post(
        "/v1/restorations", data={"image": part}, headers={"Idempotency-Key": "wish"}
    )
    assert answer.status_code == 202
    return str(answer.get_json()["id"])


def test_the_manifest_is_written_before_the_record_and_the_record_before_the_doorbell(
    watched: Authorised, steps: list[str], photo: bytes
) -> None:
    submit(watched, photo)
    assert (*steps, "respond") == STEP_ORDERS.submission


def test_the_manifest_of_a_retry_is_written_before_the_retry(
    watched: Authorised, services: Services, steps: list[str], photo: bytes
) -> None:
    job_id = submit(watched, photo)
    claim = services.store.runs.claim(job_id, "worker-1")
    assert claim
    services.store.runs.finish(job_id, claim.token, Outcome(Status.FAILED))
    steps.clear()
    assert watched.post(f"/v1/restorations/{job_id}/retry").status_code == 202
    assert tuple(steps) == STEP_ORDERS.retry


def test_an_erased_job_is_canceled_first_and_its_record_is_deleted_after_its_objects(
    watched: Authorised, services: Services, steps: list[str], photo: bytes
) -> None:
    job_id = submit(watched, photo)
    services.store.runs.claim(job_id, "worker-1")
    steps.clear()
    assert watched.open(f"/v1/restorations/{job_id}", method="DELETE").status_code == 204
    assert tuple(steps) in {
        STEP_ORDERS.erasure,
        STEP_ORDERS.erasure[:-1],
    }  # if nothing more was stored
