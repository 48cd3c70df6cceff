"""A tenant on its way to another cell: refused with a problem that clients repeat."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from werkzeug.test import TestResponse

from api import Services
from shared.tenants.moves import Moves, MoveState
from tests.api.conftest import Authorised, Enrol

Submit = Callable[..., TestResponse]
Problem = Callable[[TestResponse], tuple[int, str]]


@pytest.fixture
def moves(services: Services) -> Moves:
    return Moves(services.store.scripts)


def test_changes_of_a_tenant_that_leaves_are_refused_and_reads_are_served(
    client: Authorised, submit: Submit, moves: Moves, problem: Problem
) -> None:
    path = submit(client).headers["Location"]
    moves.mark("acme", MoveState.LEAVING)
    for refused in (
        submit(client),
        client.post(f"{path}/cancel"),
        client.open(path, method="DELETE"),
        client.post("/v1/batches", json={"items": []}),
    ):
        assert problem(refused) == (503, "unavailable")
        assert int(refused.headers["Retry-After"]) == 30
        assert refused.get_json()["retryable"] is True
    assert client.get(path).get_json()["status"] == "queued"
    moves.end("acme")
    assert client.post(f"{path}/cancel").status_code == 202


@pytest.mark.parametrize("state", [MoveState.LEFT, MoveState.ARRIVING])
def test_a_tenant_that_is_in_another_cell_is_not_served_at_all(
    client: Authorised, enrol: Enrol, moves: Moves, problem: Problem, state: MoveState
) -> None:
    moves.mark("acme", state)
    assert problem(client.get("/v1/restorations")) == (503, "unavailable")
    assert enrol("globex").get("/v1/restorations").status_code == 200
