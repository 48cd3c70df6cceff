"""The API as it is deployed: gunicorn, its configuration and ``api.wsgi``."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from redis import Redis

from deploy.child import free_port
from shared.database import connect
from shared.keys import KeyRing
from shared.settings import Settings

ROOT = Path(__file__).resolve().parents[2]


@dataclass
class Server:
    process: subprocess.Popen[bytes]
    port: int
    log: Path

    def connection(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)

    def say(self, data: bytes) -> tuple[int, str, dict[str, Any]]:
        """Status, content type and JSON of the answer to raw bytes."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=30) as client:
            client.sendall(data)
            answer = http.client.HTTPResponse(client)
            answer.begin()
            return answer.status, answer.headers["Content-Type"], json.load(answer)


@pytest.fixture(scope="module")
def starts(stack_settings: dict[str, Any], tmp_path_factory: Any) -> Iterator[Any]:
    """Starts a server; all are stopped at the end."""
    started: list[Server] = []

    def start() -> Server:
        port = free_port()
        environ = {f"FACEMEND_{name.upper()}": str(value) for name, value in stack_settings.items()}
        log = tmp_path_factory.mktemp("api") / "log"
        with log.open("wb") as file:
            process = subprocess.Popen(
                [sys.executable, "-m", "gunicorn", "-c", "deploy/gunicorn.conf.py", "api.wsgi:app"],
                cwd=ROOT,
                env={**os.environ, **environ, "FACEMEND_API_BIND": f"127.0.0.1:{port}"},
                stdout=file,
                stderr=file,
            )
        server = Server(process, port, log)
        started.append(server)
        while process.poll() is None:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    return server
            time.sleep(0.05)
        raise AssertionError(log.read_text())

    yield start
    for server in started:
        server.process.kill()
        server.process.wait()


@pytest.fixture(scope="module")
def server(starts: Any) -> Server:
    """One for all tests that leave it as it was."""
    started: Server = starts()
    return started


@pytest.fixture
def key(redis: Any, settings: Settings) -> str:
    return KeyRing(connect(settings), settings.api_key_pepper).create("acme", "test")[1]


def test_what_cannot_be_parsed_is_a_problem(server: Server) -> None:
    post = b"POST /v1/restorations HTTP/1.1\r\nHost: x\r\n"
    said = {
        "two lengths": server.say(post + b"Content-Length: 3\r\nContent-Length: 4\r\n\r\nabc"),
        "length and chunks": server.say(
            post + b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
        ),
        "no version": server.say(b"GET /\r\n\r\n"),
        "long address": server.say(b"GET /" + b"a" * 9000 + b" HTTP/1.1\r\nHost: x\r\n\r\n"),
        "long header": server.say(b"GET / HTTP/1.1\r\nX: " + b"a" * 100_000 + b"\r\n\r\n"),
        "many headers": server.say(b"GET / HTTP/1.1\r\n" + b"X: a\r\n" * 1000 + b"\r\n"),
    }
    statuses = {name: status for name, (status, _, _) in said.items()}
    assert statuses == {
        "two lengths": 400,
        "length and chunks": 400,
        "no version": 400,
        "long address": 414,
        "long header": 431,
        "many headers": 431,
    }
    for status, media_type, body in said.values():
        assert media_type == "application/problem+json"
        assert (body["status"], body["code"]) == (status, "invalid-request")
    assert "Traceback" not in server.log.read_text()


def test_a_broken_chunk_is_malformed(server: Server, key: str) -> None:
    head = (
        f"POST /v1/restorations HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {key}\r\n"
        "Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
    )
    status, media_type, body = server.say(head.encode() + b'5\r\n{"inp\r\nxyz\r\n')
    assert (status, media_type) == (400, "application/problem+json")
    assert body["code"] == "invalid-request"


def test_an_upload_of_60_mb_gets_its_answer(server: Server, key: str) -> None:
    connection = server.connection()
    headers = {
        "Authorization": f"Bearer {key}",
        "Content-Type": "multipart/form-data; boundary=b",
        "Content-Length": "60000000",
    }
    connection.putrequest("POST", "/v1/restorations")
    for name, value in headers.items():
        connection.putheader(name, value)
    connection.endheaders()
    with contextlib.suppress(ConnectionError):  # it need not listen to the end
        for _ in range(60):
            connection.send(bytes(1_000_000))
    with contextlib.closing(connection):
        answer = connection.getresponse()
        assert answer.status == 413
        assert json.load(answer)["code"] == "payload-too-large"


def test_waiting_requests_end_and_the_process_with_them_on_sigterm(
    starts: Any, key: str, redis: Redis, submit: Any, client: Any
) -> None:
    server = starts()
    job_id = submit(client).get_json()["id"]
    answers: list[int] = []

    def wait() -> None:
        connection = server.connection()
        path = f"/v1/restorations/{job_id}?wait=60"
        connection.request("GET", path, headers={"Authorization": f"Bearer {key}"})
        answers.append(connection.getresponse().status)
        connection.close()

    def looks() -> int:
        """How often anybody looked at a job record; only the long poll does."""
        return int(redis.info("commandstats")["cmdstat_evalsha"]["calls"])

    before = looks()
    waiting = threading.Thread(target=wait)
    waiting.start()
    while looks() < before + 2:
        time.sleep(0.05)
    server.process.send_signal(signal.SIGTERM)
    waiting.join(timeout=20)
    assert answers == [200]
    assert server.process.wait(timeout=20) == 0
