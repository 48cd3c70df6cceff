from __future__ import annotations

import dataclasses
from typing import Any

from api import Services, create_app
from shared.jobs.store import JobStore
from shared.jobs.workers import ServedModel
from shared.settings import Settings

LIVE = ServedModel("gpen-bfr-512", "a" * 64, 512, "research only", "bf16", "torch", 31.5)


def test_a_model_that_no_worker_serves_is_known_but_not_loaded(client: Any) -> None:
    (only,) = client.get("/v1/models").get_json()["data"]
    assert (only["name"], only["default"], only["loaded"]) == ("facemend-starter", True, False)
    assert only["ms_per_face"] is None


def test_live_workers_determine_which_models_are_loaded(client: Any, store: JobStore) -> None:
    store.workers.announce("worker-1", [LIVE])
    models = {model["name"]: model for model in client.get("/v1/models").get_json()["data"]}
    assert models.keys() == {"facemend-starter", "gpen-bfr-512"}
    expected = dataclasses.asdict(LIVE) | {"default": False, "loaded": True}
    del expected["batch"]  # for operators only
    assert models["gpen-bfr-512"] == expected


def test_models_of_the_settings_are_known(
    services: Services, settings: Settings, client: Any
) -> None:
    more = settings.model_copy(update={"served_models": ("gpen-bfr-256",)})
    app = create_app(dataclasses.replace(services, settings=more))
    headers = {"Authorization": f"Bearer {client.secret}"}
    answer = app.test_client().get("/v1/models", headers=headers)
    assert {model["name"] for model in answer.get_json()["data"]} == {
        "facemend-starter",
        "gpen-bfr-256",
    }
