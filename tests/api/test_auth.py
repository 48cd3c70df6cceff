from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from flask.testing import FlaskClient

from api import Services, auth, create_app
from api.openapi import Application
from shared.tenants.api_keys import ALL_SCOPES

Problem = Callable[[Any], tuple[int, str]]
PROTECTED = sorted(route for route, scope in auth.SCOPES.items() if scope is not None)
OPEN = sorted(auth.SCOPES.keys() - set(PROTECTED))


def concrete(route: str) -> tuple[str, str]:
    method, path = route.split(" ")
    path = path.replace("<job_id>", "job_" + "0" * 32)
    path = path.replace("<name>", "facemend-starter.normal")
    path = path.replace("<delivery_id>", "dlv_" + "0" * 32)
    return method, path.replace("<path:filename>", "icon.svg")


def test_every_route_is_in_the_scope_table(app: Application) -> None:
    assert auth.routes(app) == auth.SCOPES.keys()


def test_the_api_does_not_start_if_a_route_has_no_scope(app: Application) -> None:
    app.add_url_rule("/backdoor", view_func=lambda: "in")
    with pytest.raises(LookupError, match="GET /backdoor"):
        auth.check_table(app)


@pytest.mark.parametrize("route", PROTECTED)
def test_a_request_without_a_key_reveals_nothing(
    anonymous: FlaskClient, problem: Problem, route: str
) -> None:
    method, path = concrete(route)
    answer = anonymous.open(path, method=method)
    assert problem(answer) == (401, "unauthorized")
    assert answer.headers["WWW-Authenticate"] == 'Bearer realm="facemend"'


@pytest.mark.parametrize("route", PROTECTED)
def test_each_scope_allows_its_own_routes_and_no_other(
    enrol: Any, problem: Problem, route: str
) -> None:
    method, path = concrete(route)
    needed = auth.SCOPES[route]
    assert needed in ALL_SCOPES
    for scope in ALL_SCOPES:
        answer = enrol("acme", frozenset({scope})).open(path, method=method)
        if scope == needed:
            assert answer.status_code not in {401, 403}
        else:
            assert problem(answer) == (403, "forbidden")
            assert needed in answer.get_json()["detail"]


@pytest.mark.parametrize("route", [r for r in OPEN if "assets" not in r])
def test_open_routes_need_no_key(anonymous: FlaskClient, route: str) -> None:
    method, path = concrete(route)
    assert anonymous.open(path, method=method).status_code == 200


@pytest.mark.parametrize(
    "header",
    [
        "",
        "Bearer",
        "Bearer ",
        "Bearer nonsense",
        "Basic dXNlcjpwYXNz",
        "Bearer fm_live_" + "0" * 70,
        "Bearer \xff\xfe",
        "Bearer " + "x" * 8000,
    ],
)
def test_another_text_than_a_key_is_unauthorized(
    anonymous: FlaskClient, problem: Problem, header: str
) -> None:
    answer = anonymous.get("/v1/models", headers={"Authorization": header})
    assert problem(answer) == (401, "unauthorized")


def test_a_key_with_one_letter_changed_is_unauthorized(client: Any, problem: Problem) -> None:
    last = client.secret[-1]
    client.secret = client.secret[:-1] + ("a" if last != "a" else "b")
    assert problem(client.get("/v1/models")) == (401, "unauthorized")


def test_a_revoked_key_is_unauthorized_at_once(
    client: Any, problem: Problem, services: Services
) -> None:
    assert client.get("/v1/models").status_code == 200
    (key,) = services.keys.list("acme")
    services.keys.revoke(key.id)
    assert problem(client.get("/v1/models")) == (401, "unauthorized")


def test_the_word_bearer_may_be_written_in_any_case(client: Any) -> None:
    answer = client.get("/v1/models", headers={"Authorization": f"bearer {client.secret}"})
    assert answer.status_code == 200


def test_another_tenants_job_is_not_found_on_every_route(
    app: Application, client: Any, enrol: Any, submit: Any, problem: Problem
) -> None:
    job_id = submit(client).get_json()["id"]
    stranger = enrol("globex")
    asked = 0
    for route in sorted(auth.routes(app)):
        if "<job_id>" not in route:
            continue
        asked += 1
        method, path = route.split(" ")
        foreign = stranger.open(path.replace("<job_id>", job_id), method=method)
        missing = stranger.open(path.replace("<job_id>", "job_" + "0" * 32), method=method)
        assert problem(foreign) == problem(missing) == (404, "not-found")
        differs = {"request_id", "instance"}
        assert all(
            foreign.get_json()[name] == missing.get_json()[name]
            for name in foreign.get_json().keys() - differs
        )
    assert asked >= 2
    assert client.get(f"/v1/restorations/{job_id}").get_json()["status"] == "queued"
    assert stranger.get("/v1/restorations").get_json()["data"] == []


def test_no_secret_is_logged(
    settings: Any, enrol: Any, submit: Any, caplog: pytest.LogCaptureFixture
) -> None:
    client = enrol("acme")
    with caplog.at_level("DEBUG"):
        submit(client)
        client.get("/v1/restorations")
    assert "/v1/restorations" in caplog.text
    for secret in (client.secret, settings.api_key_pepper.get_secret_value()):
        assert secret not in caplog.text


def test_two_applications_in_a_process_use_their_own_services(services: Services) -> None:
    """All applications of a process share the routes, but not the services."""
    first, second = create_app(services), create_app(services)
    assert first.api_doc == second.api_doc
    assert first.api_doc is not second.api_doc
