from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from flask.testing import FlaskClient
from prometheus_client.parser import text_string_to_metric_families

from api import Services, create_app
from shared.settings import Settings


def test_liveness_needs_neither_redis_nor_storage(settings: Settings) -> None:
    nowhere = settings.model_copy(
        update={
            "redis_url": type(settings.redis_url)("redis://127.0.0.1:9"),
            "s3_endpoint_url": "http://127.0.0.1:9",
        }
    )
    answer = create_app(Services.connect(nowhere)).test_client().get("/healthz")
    assert (answer.status_code, answer.get_data(as_text=True)) == (200, "ok\n")


def test_readiness_needs_redis_and_storage(anonymous: FlaskClient) -> None:
    answer = anonymous.get("/readyz")
    assert answer.status_code == 200
    assert answer.get_json() == {"ready": True, "parts": {"redis": "ok", "s3": "ok"}}


@pytest.mark.parametrize(
    ("part", "change"),
    [
        ("redis", {"redis_url": "redis://:pass@127.0.0.1:9"}),
        ("s3", {"s3_endpoint_url": "http://127.0.0.1:9"}),
    ],
)
def test_readiness_names_the_unreachable_server_and_nothing_more(
    settings: Settings, services: Services, part: str, change: dict[str, Any]
) -> None:
    lame = Services.connect(Settings(_env_file=None, **(settings.model_dump() | change)))
    member = {"redis": "store", "s3": "storage"}[part]
    mixed = dataclasses.replace(services, **{member: getattr(lame, member)})
    answer = create_app(mixed).test_client().get("/readyz")
    assert answer.status_code == 503
    assert answer.get_json()["parts"] == {"redis": "ok", "s3": "ok"} | {part: "unreachable"}
    assert "127.0.0.1" not in answer.get_data(as_text=True)


def test_requests_are_counted_by_route_and_never_by_path(
    anonymous: FlaskClient, client: Any
) -> None:
    client.get("/v1/restorations/job_" + "1" * 32)
    client.get("/secret-path-of-a-scanner")
    text = anonymous.get("/metrics").get_data(as_text=True)
    families = {family.name: family for family in text_string_to_metric_families(text)}
    routes = {sample.labels["route"] for sample in families["facemend_http_requests"].samples}
    assert {"/v1/restorations/<job_id>", "unknown"} <= routes
    assert "scanner" not in text
    assert "job_1111" not in text


def test_openmetrics_has_the_request_of_a_time_as_exemplar(anonymous: FlaskClient) -> None:
    anonymous.get("/healthz", headers={"X-Request-Id": "request-of-the-exemplar"})
    accept = "application/openmetrics-text; version=1.0.0"
    answer = anonymous.get("/metrics", headers={"Accept": accept})
    assert answer.mimetype == "application/openmetrics-text"
    text = answer.get_data(as_text=True)
    assert text.endswith("# EOF\n")
    assert '# {request_id="request-of-the-exemplar"}' in text
    assert "request-of-the-exemplar" not in anonymous.get("/metrics").get_data(as_text=True)
