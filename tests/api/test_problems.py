from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable
from typing import Any

import pytest
from flask.testing import FlaskClient

from api import Services, create_app
from shared.errors import Internal, ModelUnavailable
from shared.jobs.job import Job
from shared.jobs.store import JobStore

Problem = Callable[[Any], tuple[int, str]]


@pytest.mark.parametrize("path", ["/nothing", "/v1", "//v1/restorations", "/v2/restorations"])
def test_an_unknown_route_is_a_problem(client: Any, problem: Problem, path: str) -> None:
    assert problem(client.get(path)) == (404, "not-found")


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("DELETE", "/v1/restorations", "GET, HEAD, OPTIONS, POST"),
        ("POST", "/v1/models", "GET, HEAD, OPTIONS"),
        ("PUT", "/healthz", "GET, HEAD, OPTIONS"),
        ("BREW", "/v1/restorations", "GET, HEAD, OPTIONS, POST"),
    ],
)
def test_the_response_to_another_method_names_the_allowed_ones(
    client: Any, problem: Problem, method: str, path: str, allowed: str
) -> None:
    answer = client.open(path, method=method)
    assert problem(answer) == (405, "method-not-allowed")
    assert answer.headers["Allow"] == allowed


class Raises(JobStore):
    """A store that raises the given error."""

    error: Exception

    def get(self, tenant: str, job_id: str) -> Job:
        raise self.error


@pytest.fixture
def failing(services: Services, client: Any) -> Callable[[Exception], Any]:
    """Asks for a job while the store raises the given error."""

    def ask(error: Exception) -> Any:
        store = Raises.connect(services.settings)
        store.error = error
        guest: FlaskClient = create_app(dataclasses.replace(services, store=store)).test_client()
        headers = {"Authorization": f"Bearer {client.secret}"}
        return guest.get("/v1/restorations/job_" + "0" * 32, headers=headers)

    return ask


@pytest.mark.parametrize(
    "error",
    [RuntimeError("secret detail"), Internal("secret detail"), ModelUnavailable("secret detail")],
)
def test_an_unexpected_error_is_logged_in_full_and_the_client_sees_no_detail(
    failing: Callable[[Exception], Any],
    problem: Problem,
    caplog: pytest.LogCaptureFixture,
    error: Exception,
) -> None:
    with caplog.at_level(logging.ERROR):
        answer = failing(error)
    assert problem(answer) == (500, "internal")
    assert "secret detail" not in answer.get_data(as_text=True)
    assert "secret detail" in caplog.text
    assert "Traceback" in caplog.text


def test_a_request_id_of_a_proxy_is_kept(client: Any) -> None:
    answer = client.get("/nothing", headers={"X-Request-Id": "edge-0123.abc"})
    assert answer.headers["X-Request-Id"] == "edge-0123.abc"
    assert answer.get_json()["request_id"] == "edge-0123.abc"


@pytest.mark.parametrize(
    "given", ["short", "x" * 65, "with space", "<script>alert(1)</script>", '"}{"']
)
def test_a_request_id_that_could_spoil_a_log_is_replaced(client: Any, given: str) -> None:
    answer = client.get("/nothing", headers={"X-Request-Id": given})
    assert answer.headers["X-Request-Id"].startswith("req_")


def test_caches_do_not_store_an_error(client: Any) -> None:
    assert client.get("/nothing").headers["Cache-Control"] == "no-store"
