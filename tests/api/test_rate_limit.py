from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from flask.testing import FlaskClient

from api import Services, create_app
from shared.tenants.rate_limit import RateLimiter
from tests.api.conftest import Authorised, CheckedClient


@pytest.fixture
def frugal(services: Services) -> FlaskClient:
    """An API that takes two requests of a key in ten minutes."""
    settings = services.settings.model_copy(update={"rate_limit": 2, "rate_window_s": 600})
    app = create_app(dataclasses.replace(services, settings=settings, rates=RateLimiter(settings)))
    app.test_client_class = CheckedClient
    return app.test_client()


def of(services: Services, client: FlaskClient, scopes: frozenset[str] | None = None) -> Authorised:
    _, token = services.keys.create("acme", "shop", *([scopes] if scopes else []))
    return Authorised(client, token)


def test_every_answer_tells_what_is_left(client: Any) -> None:
    answer = client.get("/v1/models")
    assert answer.headers["RateLimit-Policy"] == '"key";q=6000;w=60'
    assert answer.headers["RateLimit"].startswith('"key";r=5999;t=')


def test_one_request_too_many_is_refused(
    services: Services, frugal: FlaskClient, problem: Any
) -> None:
    client = of(services, frugal)
    assert [client.get("/v1/models").status_code for _ in range(2)] == [200, 200]
    answer = client.get("/v1/models")
    assert problem(answer) == (429, "rate-limited")
    assert answer.headers["Retry-After"] == "300"
    assert answer.headers["RateLimit"].startswith('"key";r=0;t=')
    assert answer.get_json()["retryable"]


def test_what_the_key_may_not_do_counts_too(services: Services, frugal: FlaskClient) -> None:
    client = of(services, frugal, frozenset({"admin"}))
    assert [client.get("/v1/models").status_code for _ in range(3)] == [403, 403, 429]


def test_strangers_and_probes_are_not_counted(frugal: FlaskClient) -> None:
    for _ in range(4):
        assert frugal.get("/healthz").status_code == 200
        answer = frugal.get("/v1/models")
        assert answer.status_code == 401
        assert "RateLimit" not in answer.headers


def test_a_refused_submission_makes_no_job(
    services: Services, frugal: FlaskClient, submit: Any
) -> None:
    client = of(services, frugal)
    client.get("/v1/models")
    assert [submit(client).status_code for _ in range(2)] == [202, 429]
    assert len(services.store.list("acme")[0]) == 1
