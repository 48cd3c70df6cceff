"""The API as it is deployed: gunicorn, its configuration and ``api.wsgi``."""

from __future__ import annotations

import contextlib
import http.client
import json
import signal
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
from redis import Redis

from shared.jobs.job import Progress, Stage
from shared.redis.client import connect
from shared.settings import Settings
from shared.tenants.api_keys import KeyRing
from tests.api.serving import Server, serve


@pytest.fixture(scope="module")
def starts(stack_settings: dict[str, Any], tmp_path_factory: Any) -> Iterator[Any]:
    """Starts a server; all are stopped at the end."""
    with contextlib.ExitStack() as running:

        def start(**settings: object) -> Server:
            log = tmp_path_factory.mktemp("api") / "log"
            return running.enter_context(serve(stack_settings | settings, log))

        yield start


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


@pytest.fixture(scope="module")
def hasty(starts: Any) -> Server:
    """One that gives a request a second to come in."""
    started: Server = starts(upload_timeout_s=1.0)
    return started


def drip(server: Server, head: str, piece: bytes) -> tuple[int, dict[str, Any], float]:
    """Send ``piece`` again and again, slowly, until there is an answer; how long that took."""
    began = time.monotonic()
    with socket.create_connection(("127.0.0.1", server.port), timeout=30) as client:
        client.sendall(head.encode())
        client.settimeout(0.2)
        while True:
            try:
                client.recv(1, socket.MSG_PEEK)
                break
            except TimeoutError:
                client.sendall(piece)
        client.settimeout(30)
        answer = http.client.HTTPResponse(client)
        answer.begin()
        return answer.status, json.load(answer), time.monotonic() - began


@pytest.mark.parametrize(
    "more",
    [
        "Content-Type: application/json\r\nContent-Length: 5000\r\n\r\n{",
        "Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n",
        "Content-Type: multipart/form-data; boundary=b\r\nContent-Length: 5000\r\n\r\n--b\r\n",
        "X-Slow: ",
    ],
    ids=["body", "chunks", "parts", "header"],
)
def test_a_request_that_drips_in_is_given_up(hasty: Server, key: str, more: str) -> None:
    head = f"POST /v1/restorations HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {key}\r\n{more}"
    piece = b"1\r\na\r\n" if "chunked" in more else b"a"
    status, body, took_s = drip(hasty, head, piece)
    assert (status, body["status"], body["code"]) == (408, 408, "invalid-request")
    assert body["retryable"]
    assert took_s < 5  # a thread is free again; without an end it would drip for ever
    assert "Traceback" not in hasty.log.read_text()


def test_a_client_that_falls_silent_is_given_up(hasty: Server, key: str) -> None:
    status, _, body = hasty.say(
        f"POST /v1/restorations HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {key}\r\n"
        "Content-Type: application/json\r\nContent-Length: 5000\r\n\r\n{".encode()
    )
    assert (status, body["code"]) == (408, "invalid-request")


def test_slow_clients_do_not_keep_the_others_out(hasty: Server, key: str) -> None:
    head = f"POST /v1/restorations HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {key}\r\n"
    head += "Content-Type: application/json\r\nContent-Length: 5000\r\n\r\n{"
    with contextlib.ExitStack() as open_ones:
        for _ in range(40):  # more than there are threads
            client = socket.create_connection(("127.0.0.1", hasty.port), timeout=30)
            open_ones.enter_context(client)
            client.sendall(head.encode())
        status, _, body = hasty.say(b"GET /nowhere HTTP/1.1\r\nHost: x\r\n\r\n")
    assert (status, body["code"]) == (404, "not-found")


def test_a_connection_is_used_again_after_longer_than_a_request_may_take(
    hasty: Server, key: str
) -> None:
    with contextlib.closing(hasty.connection()) as connection:
        for _ in range(2):
            connection.request("GET", "/v1/models", headers={"Authorization": f"Bearer {key}"})
            answer = connection.getresponse()
            assert answer.status == 200
            assert json.load(answer)["data"]
            used = connection.sock
            time.sleep(1.2)
        assert connection.sock is used


def test_a_stream_tells_of_the_job_as_it_goes_on_and_ends_on_sigterm(
    starts: Any, key: str, submit: Any, client: Any, store: Any
) -> None:
    server = starts()
    job_id = submit(client).get_json()["id"]
    with contextlib.closing(server.connection()) as connection:
        path = f"/v1/restorations/{job_id}/events"
        connection.request("GET", path, headers={"Authorization": f"Bearer {key}"})
        stream = connection.getresponse()
        assert stream.headers["Content-Type"] == "text/event-stream"
        assert [stream.readline() for _ in range(4)][2:] == [b"id: 1\n", b"event: status\n"]
        assert json.loads(stream.readline().removeprefix(b"data: "))["status"] == "queued"
        assert store.claim(job_id, "worker-1")
        assert [stream.readline() for _ in range(3)][1:] == [b"id: 2\n", b"event: status\n"]
        assert json.loads(stream.readline().removeprefix(b"data: "))["status"] == "running"
        server.process.send_signal(signal.SIGTERM)
        assert stream.read() == b"\n"  # whole, and nothing after the last event
    assert server.process.wait(timeout=20) == 0


def test_a_client_that_left_gives_its_place_back(
    starts: Any, key: str, submit: Any, client: Any, store: Any
) -> None:
    server = starts(api_threads=3)  # one place for a stream
    job_id = submit(client).get_json()["id"]
    path = f"/v1/restorations/{job_id}/events"

    def stays(seconds: float) -> bool:
        """Whether a stream goes on after it told what is there."""
        with contextlib.closing(server.connection()) as connection:
            connection.request("GET", path, headers={"Authorization": f"Bearer {key}"})
            stream = connection.getresponse()
            assert stream.readline().startswith(b"retry")
            assert connection.sock is not None
            connection.sock.settimeout(seconds)
            try:
                stream.read()
            except TimeoutError:
                return True
            return False

    assert stays(0.5)
    assert not stays(0.5)  # the first one has left, but nothing was sent that would have shown it
    claim = store.claim(job_id, "worker-1")
    give_up = time.monotonic() + 20
    while not stays(1.0):
        store.progress(job_id, claim.token, Progress(Stage.FETCHING))
        time.sleep(0.3)
        assert time.monotonic() < give_up
