"""The API sends each job to a pool: that of its tenant's pin, or one that its model names."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from werkzeug.test import TestResponse

from api import Services
from shared.jobs.pools import Pools
from shared.jobs.workers import ServedModel
from shared.tenants.pins import Pins
from tests.api.conftest import Authorised, Enrol

Submit = Callable[..., TestResponse]
Problem = Callable[[TestResponse], tuple[int, str]]
MODEL = "facemend-starter"
STARTER = ServedModel(MODEL, "e" * 64, 128, "Apache-2.0", "fp32", "torch", 500.0)


@pytest.fixture
def services(services: Services) -> Services:
    """Services whose default model names two pools."""
    return replace(services, pools=Pools({MODEL: ("h100", "cpu")}))


@pytest.fixture
def pins(services: Services) -> Pins:
    return Pins(services.store.scripts)


@pytest.fixture
def pool_of(services: Services) -> Callable[[TestResponse], str]:
    def pool_of(answer: TestResponse) -> str:
        assert answer.status_code == 202, answer.get_json()
        return services.store.get("acme", answer.get_json()["id"]).pool

    return pool_of


def test_a_job_goes_to_the_first_pool_of_its_model_that_has_a_worker(
    client: Authorised, submit: Submit, services: Services, pool_of: Callable[..., str]
) -> None:
    assert pool_of(submit(client)) == "h100"
    services.store.workers.announce("w-1", [STARTER], pool="cpu")
    assert pool_of(submit(client)) == "cpu"


def test_a_job_of_a_pinned_tenant_goes_to_its_pool_with_its_doorbell_and_manifest(
    client: Authorised,
    submit: Submit,
    services: Services,
    pins: Pins,
    pool_of: Callable[..., str],
) -> None:
    services.store.workers.announce("w-1", [STARTER], pool="h100")
    pins.pin("acme", "cpu")
    assert pool_of(submit(client)) == "cpu"
    assert services.store.scripts.client.llen(f"restore.{MODEL}@cpu.normal") == 1
    (ref,) = services.manifests.all()
    manifest = services.manifests.read(ref)
    assert manifest is not None
    assert manifest.pool == "cpu"
    pins.unpin("acme")
    assert pool_of(submit(client)) == "h100"


def test_a_pin_to_a_pool_that_does_not_serve_the_model_is_refused_and_leaves_nothing(
    client: Authorised, submit: Submit, services: Services, pins: Pins, problem: Problem
) -> None:
    pins.pin("acme", "eu")
    refused = submit(client)
    assert problem(refused) == (422, "invalid-request")
    (error,) = refused.get_json()["errors"]
    assert error["pointer"] == "/model"
    assert "eu" in error["detail"]
    assert services.store.counts()["queued"] == 0
    assert [*services.manifests.all()] == []


def test_a_repeated_request_returns_its_job_also_after_another_pin(
    client: Authorised, submit: Submit, pins: Pins
) -> None:
    first = submit(client, headers={"Idempotency-Key": "k-1"})
    pins.pin("acme", "eu")
    again = submit(client, headers={"Idempotency-Key": "k-1"})
    assert again.get_json()["id"] == first.get_json()["id"]


def test_another_tenant_is_not_pinned(
    enrol: Enrol, submit: Submit, services: Services, pins: Pins
) -> None:
    pins.pin("acme", "cpu")
    job_id = submit(enrol("globex")).get_json()["id"]
    assert services.store.get("globex", job_id).pool == "h100"


def test_items_of_a_batch_go_to_pools_and_those_that_none_serves_are_rejected(
    client: Authorised, services: Services, pins: Pins
) -> None:
    pins.pin("acme", "eu")
    items: list[dict[str, Any]] = [
        {"input": {"url": "https://photos.example/1.jpg"}},
        {"input": {"url": "https://photos.example/2.jpg"}, "model": "other"},
    ]
    services.store.workers.announce("w-1", [replace(STARTER, name="other")], pool="eu")
    batch = client.post("/v1/batches", json={"items": items}).get_json()
    found = services.batches.items("acme", batch["id"], 0, 10)
    assert found[0].problem is not None
    assert found[0].problem["errors"][0]["pointer"] == "/model"
    assert found[1].job is not None
    assert found[1].job.pool == "eu"


def test_a_retry_goes_where_a_new_job_would_go(
    client: Authorised, submit: Submit, services: Services, pins: Pins, problem: Problem
) -> None:
    job_id = submit(client).get_json()["id"]
    client.post(f"/v1/restorations/{job_id}/cancel")
    pins.pin("acme", "cpu")
    assert client.post(f"/v1/restorations/{job_id}/retry").status_code == 202
    assert services.store.get("acme", job_id).pool == "cpu"
    client.post(f"/v1/restorations/{job_id}/cancel")
    pins.pin("acme", "eu")
    refused = client.post(f"/v1/restorations/{job_id}/retry")
    assert problem(refused) == (422, "invalid-request")


def test_queues_and_workers_are_listed_with_their_pools(
    client: Authorised, submit: Submit, services: Services
) -> None:
    services.store.workers.announce("w-1", [STARTER], pool="cpu")
    submit(client)
    queues = {each["name"]: each for each in client.get("/v1/queues").get_json()["data"]}
    assert queues[f"{MODEL}@cpu.normal"]["queued"] == 1
    assert queues[f"{MODEL}@h100.normal"]["pool"] == "h100"
    assert queues[f"{MODEL}@h100.normal"]["queued"] == 0
    paused = client.post(f"/v1/queues/{MODEL}@cpu.normal/pause").get_json()
    assert (paused["pool"], paused["paused"]) == ("cpu", True)
    (worker,) = client.get("/v1/workers").get_json()["data"]
    assert worker["pool"] == "cpu"
