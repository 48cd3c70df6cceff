"""The map of the router, and the real HAProxy that reads it."""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import httpx
import pytest
from click.testing import CliRunner

from deploy.embedded.child_process import ChildProcess, free_port
from shared.errors import Conflict
from shared.tenants.moves import MoveState
from tests.conftest import ROOT
from tests.waiting import eventually
from tests.worker.cells.conftest import Cell
from worker.cells.router_map import router_map
from worker.cli import main

Ask = Callable[[str | None], str]


def test_keys_are_mapped_to_their_cells_but_not_those_that_are_revoked(
    source: Cell, target: Cell
) -> None:
    ours, _ = source.keys.create("acme", "shop")
    theirs, _ = target.keys.create("globex", "shop")
    revoked, _ = source.keys.create("acme", "old")
    source.keys.revoke(revoked.id)
    cells = {"cell-a": source.settings, "cell-b": target.settings}
    assert router_map(cells) == sorted([f"{ours.id[-12:]} cell-a", f"{theirs.id[-12:]} cell-b"])


def test_a_tenant_is_mapped_to_the_source_until_it_has_left(source: Cell, target: Cell) -> None:
    key, _ = source.keys.create("acme", "shop")
    cells = {"cell-a": source.settings, "cell-b": target.settings}
    source.moves.mark("acme", MoveState.LEAVING)
    assert router_map(cells) == [f"{key.id[-12:]} cell-a"]
    source.moves.mark("acme", MoveState.LEFT)
    assert router_map(cells) == []


def test_one_key_in_two_cells_is_refused(source: Cell, target: Cell) -> None:
    source.keys.create("acme", "shop")
    target.keys.restore(source.keys.copy())
    with pytest.raises(Conflict):
        router_map({"cell-a": source.settings, "cell-b": target.settings})


@pytest.fixture
def ask(source: Cell, target: Cell, tmp_path: Path) -> Iterator[Ask]:
    """Ask through HAProxy with the key of ``acme`` (in cell a) or ``globex`` (in cell b)."""
    if shutil.which("haproxy") is None:
        pytest.skip("HAProxy is not installed")
    files = [
        f"{name}={cell.write_settings(tmp_path / f'{name}.env')}"
        for name, cell in (("cell-a", source), ("cell-b", target))
    ]
    made = CliRunner().invoke(main, ["cells", "map", *files], catch_exceptions=False)
    assert made.exit_code == 0
    (tmp_path / "cells.map").write_text(made.stdout)
    port = free_port()
    with ExitStack() as stack:
        env = {
            "CELL_A": stack.enter_context(_Api("cell-a")).address,
            "CELL_B": stack.enter_context(_Api("cell-b")).address,
            "CELLS_MAP": str(tmp_path / "cells.map"),
            "ROUTER_BIND": f"127.0.0.1:{port}",
        }
        argv = ["haproxy", "-db", "-f", str(ROOT / "deploy" / "docker" / "router.cfg")]
        stack.enter_context(ChildProcess("haproxy", argv, folder=tmp_path, env=os.environ | env))
        client = stack.enter_context(httpx.Client(base_url=f"http://127.0.0.1:{port}"))
        eventually(lambda: _responds(client))

        def ask(token: str | None) -> str:
            headers = {"Authorization": f"Bearer {token}"} if token else {}
            return client.get("/v1/usage", headers=headers).text

        yield ask


class _Api(HTTPServer):
    """A server that says the name of its cell."""

    def __init__(self, cell: str) -> None:
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(200)
                self.send_header("Content-Length", str(len(cell)))
                self.end_headers()
                self.wfile.write(cell.encode())

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        super().__init__(("127.0.0.1", 0), Handler)
        self.address = f"127.0.0.1:{self.server_port}"
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        self.server_close()


def _responds(client: httpx.Client) -> bool:
    try:
        return client.get("/").status_code == 200
    except httpx.TransportError:
        return False


@pytest.fixture
def tokens(source: Cell, target: Cell) -> dict[str, str]:
    """A key of each tenant, and a token that the key has made."""
    found = {}
    for cell, tenant in ((source, "acme"), (target, "globex")):
        key, found[tenant] = cell.keys.create(tenant, "shop")
        scopes = {"restorations:read"}
        _, made = cell.keys.create_token(key, scopes, jobs=1, expires_in_s=60)
        found[f"token of {tenant}"] = made
    return found


def test_haproxy_finds_the_cell_of_a_key_and_of_a_token_that_it_made(
    tokens: dict[str, str], ask: Ask
) -> None:
    assert ask(tokens["acme"]) == ask(tokens["token of acme"]) == "cell-a"
    assert ask(tokens["globex"]) == ask(tokens["token of globex"]) == "cell-b"


@pytest.mark.parametrize("token", [None, "fm_live_0", "x" * 90, "fm_live_" + "0" * 70])
def test_haproxy_sends_all_other_requests_to_the_first_cell(
    tokens: dict[str, str], ask: Ask, token: str | None
) -> None:
    assert ask(token) == "cell-a"
