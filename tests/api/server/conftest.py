"""The server in this process, so that tests see what it holds."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import pytest

from api import Services, create_app
from api.server import Server
from deploy.embedded.child_process import free_port
from shared.tenants.rate_limit import RateLimiter
from tests.api.conftest import Enrol

Answered = tuple[int, dict[str, str], bytes]


@dataclass
class Served:
    """``server`` with an API key of the tenant ``acme``."""

    server: Server
    port: int
    key: str

    def connect(self, receive_buffer_bytes: int = 0) -> socket.socket:
        client = socket.socket()
        client.settimeout(30)
        if receive_buffer_bytes:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer_bytes)
        client.connect(("127.0.0.1", self.port))
        return client

    def say(self, data: bytes, *, half_close: bool = False) -> Answered:
        """Status, header fields (lower case) and body of the answer to raw bytes."""
        with self.connect() as client:
            client.sendall(data)
            if half_close:
                client.shutdown(socket.SHUT_WR)
            return read_answer(client, data.partition(b" ")[0].decode("latin-1"))

    def head(self, method: str, path: str, *more: str, key: str | None = None) -> bytes:
        lines = [f"{method} {path} HTTP/1.1", "Host: x", f"Authorization: Bearer {key or self.key}"]
        return "".join(f"{line}\r\n" for line in [*lines, *more, ""]).encode()


def read_answer(client: socket.socket, method: str = "GET") -> Answered:
    answer = http.client.HTTPResponse(client, method=method)
    answer.begin()
    fields = {name.lower(): value for name, value in answer.getheaders()}
    return answer.status, fields, answer.read()


def problem_of(answer: Answered) -> tuple[int, str]:
    status, fields, body = answer
    assert fields["content-type"] == "application/problem+json", body
    found = json.loads(body)
    assert found["status"] == status
    assert found["request_id"] == fields["x-request-id"]
    return status, found["code"]


def eventually(condition: Callable[[], object]) -> None:
    give_up = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < give_up
        time.sleep(0.02)


Serves = Callable[..., Served]


@pytest.fixture
def serves(services: Services, enrol: Enrol) -> Iterator[Serves]:
    """Start a server with some other settings; all are drained at the end."""
    with contextlib.ExitStack() as running:

        def start(**settings: Any) -> Served:
            port = free_port()
            changed = services.settings.model_copy(
                update={"api_bind": f"127.0.0.1:{port}", **settings}
            )
            own = replace(
                services,
                settings=changed,
                rates=RateLimiter(changed),
                draining=threading.Event(),
            )
            server = Server(create_app(own), own)
            running.callback(_run(server))
            return Served(server, port, enrol("acme").secret)

        yield start


@pytest.fixture
def served(serves: Serves) -> Served:
    return serves()


def _run(server: Server) -> Callable[[], None]:
    """Serve in a thread; what ends it."""
    loop = asyncio.new_event_loop()
    stop = asyncio.Event()
    thread = threading.Thread(target=loop.run_until_complete, args=[server.serve(stop)])
    thread.start()
    _, _, port = server.resources.settings.api_bind.rpartition(":")

    def listens() -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", int(port))) == 0

    eventually(listens)

    def end() -> None:
        loop.call_soon_threadsafe(stop.set)
        thread.join()
        loop.close()

    return end
