"""What a request does, in order: the stories of ``tests/shared/model`` kill it in between."""

from __future__ import annotations

import dataclasses
import io

import pytest

from api import Services, create_app
from shared.jobs.job import Status
from shared.jobs.store import Outcome
from shared.manifests.manifests import Manifests
from shared.tenants.api_keys import ALL_SCOPES
from tests.api.conftest import Authorised
from tests.shared.model.caller import Orders
from tests.shared.model.steps import Watched, WatchedStorage

ORDERS = Orders()


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
        doorbell=Watched(services.doorbell, steps),
    )
    assert isinstance(found.manifests, Manifests)
    _, secret = services.keys.create("acme", "key", ALL_SCOPES)
    return Authorised(create_app(found).test_client(), secret)


def submit(watched: Authorised, photo: bytes) -> str:
    part = (io.BytesIO(photo), "photo.png")
    answer = watched.post(
        "/v1/restorations", data={"image": part}, headers={"Idempotency-Key": "wish"}
    )
    assert answer.status_code == 202
    return str(answer.get_json()["id"])


def test_a_photo_is_promised_before_it_is_a_job_and_a_job_before_it_rings(
    watched: Authorised, steps: list[str], photo: bytes
) -> None:
    submit(watched, photo)
    assert (*steps, "answer") == ORDERS.submission


def test_a_retry_is_promised_before_it_is_made(
    watched: Authorised, services: Services, steps: list[str], photo: bytes
) -> None:
    job_id = submit(watched, photo)
    claim = services.store.claim(job_id, "worker-1")
    assert claim
    services.store.finish(job_id, claim.token, Outcome(Status.FAILED))
    steps.clear()
    assert watched.post(f"/v1/restorations/{job_id}/retry").status_code == 202
    promised = ["promise" if step == "manifest" else step for step in steps]
    assert tuple(promised) == ORDERS.again


def test_an_erased_job_stops_first_and_its_record_goes_after_its_objects(
    watched: Authorised, services: Services, steps: list[str], photo: bytes
) -> None:
    job_id = submit(watched, photo)
    services.store.claim(job_id, "worker-1")
    steps.clear()
    assert watched.open(f"/v1/restorations/{job_id}", method="DELETE").status_code == 204
    assert tuple(steps) in {ORDERS.erasure, ORDERS.erasure[:-1]}  # if nothing more was stored
