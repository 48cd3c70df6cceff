"""What a client may send and may not, and how long it may take, over real sockets."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
from collections.abc import Callable
from typing import Any

import pytest

from api.server import body as bodies
from api.server import connection as connections
from benchmarks.service.attackers import LARGE_PATH
from shared.errors import Unavailable
from shared.jobs.job import Status
from tests.api.conftest import Enrol
from tests.api.server.conftest import Served, Serves, eventually, problem_of, read_answer

JOB = b'{"input": {"url": "https://example.com/photo.jpg"}}'
GET = b"GET /healthz HTTP/1.1\r\n"
POST = b"POST /v1/restorations HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"


@pytest.mark.parametrize(
    "data",
    [
        GET + b"\r\n",
        GET + b"Host:\r\n\r\n",
        GET + b"Host: a b\r\n\r\n",
        GET + b"Host: a/b\r\n\r\n",
        GET + b"Host: user@a\r\n\r\n",
        GET + b"Host: a:80:80\r\n\r\n",
        GET + b"Host: a:99999\r\n\r\n",
        GET + b"Host: [::1\r\n\r\n",
        GET + b"Host: [1:2:3:4:5:6:7:8:9]\r\n\r\n",
        GET + b"Host: [::1]a\r\n\r\n",
        GET + b"Host: %zz\r\n\r\n",
        GET + b"Host: a, b\r\n\r\n",
        GET + b"Host: \xc3\xa9\r\n\r\n",
        GET + b"Host: a\r\nHost: a\r\n\r\n",
        GET + b"Host: a\r\nno colon\r\n\r\n",
        GET + b"Host: a\r\nX : a\r\n\r\n",
        b"GET /healthz HTTP/1.2\r\nHost: x\r\n\r\n",
        b"GET /healthz HTTP/2.0\r\nHost: x\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"GET /\r\n\r\n",
        b"get /healthz HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /healthz#a HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET healthz HTTP/1.1\r\nHost: x\r\n\r\n",
        b"CONNECT a:80 HTTP/1.1\r\nHost: x\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
        POST + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        POST + b"Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
        POST + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        POST + b"Transfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n0\r\n\r\n",
        POST.replace(b"1.1", b"1.0") + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        POST + b"Content-Length: 3\r\nContent-Length: 4\r\n\r\nabc",
        POST + b"Content-Length: -1\r\n\r\n",
        POST + b"Content-Length: 3 3\r\n\r\nabc",
    ],
)
def test_what_is_no_valid_http_is_a_problem(served: Served, data: bytes) -> None:
    status, fields, body = served.say(data)
    assert problem_of((status, fields, body)) == (400, "invalid-request")
    assert fields["connection"] == "close"
    assert "server" not in fields


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"GET /" + b"a" * 9_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n", 414),
        (b"GET /" + b"a" * 100_000, 414),
        (GET + b"Host: x\r\nX: " + b"a" * 40_000 + b"\r\n\r\n", 431),
        (GET + b"Host: x\r\nX: " + b"a" * 100_000, 431),
        (GET + b"Host: x\r\n" + b"X: a\r\n" * 1_000 + b"\r\n", 431),
    ],
    ids=["address", "endless address", "field", "endless field", "fields"],
)
def test_a_head_is_bounded(served: Served, data: bytes, status: int) -> None:
    assert problem_of(served.say(data)) == (status, "invalid-request")


@pytest.mark.parametrize("sent", [b"", JOB[:-5]])
def test_a_body_shorter_than_its_length_is_malformed(served: Served, sent: bytes) -> None:
    head = served.head(
        "POST", "/v1/restorations", "Content-Type: application/json", f"Content-Length: {len(JOB)}"
    )
    assert problem_of(served.say(head + sent, half_close=True)) == (400, "invalid-request")


def test_half_a_head_is_malformed(served: Served) -> None:
    assert problem_of(served.say(GET + b"Ho", half_close=True)) == (400, "invalid-request")


@pytest.mark.parametrize(
    "data",
    [
        GET + b"Host: x\r\n\r\n",
        b"GET http://other.example/healthz?a=b HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /healthz HTTP/1.0\r\n\r\n",
        GET + b"Host: [::1]:8000\r\n\r\n",
        b"\r\n" + GET + b"Host: x\r\n\r\n",
        GET + b"Host: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
        GET + b"Host: x\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n\r\n",
        b"OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n",
    ],
)
def test_what_is_valid_http_is_served(served: Served, data: bytes) -> None:
    status, fields, _ = served.say(data, half_close=True)
    assert status == 200
    assert fields["date"]
    assert "server" not in fields


@pytest.mark.parametrize("path", ["//healthz", "//metrics", "///v1/models", "/photos//healthz"])
def test_a_path_that_begins_with_two_slashes_is_not_found(serves: Serves, path: str) -> None:
    served = serves(api_prefix="/photos")
    assert problem_of(served.say(served.head("GET", path))) == (404, "not-found")


def test_a_head_request_gets_no_body(served: Served) -> None:
    status, fields, body = served.say(b"HEAD /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
    assert (status, body) == (200, b"")
    assert int(fields["content-length"]) > 0


def test_requests_on_one_connection_are_answered_in_order(served: Served) -> None:
    with served.connect() as client:
        last = b"GET /none HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
        client.sendall(GET + b"Host: x\r\n\r\n" + last)
        answers = client.makefile("rb").read()  # both may come at once
    assert re.findall(rb"HTTP/1.1 (\d+) ", answers) == [b"200", b"404"]


def test_memory_goes_back_to_the_system_after_many_connections_have_ended(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    trims: list[int] = []
    monkeypatch.setattr("api.server.server._trim", lambda: trims.append(1))
    with contextlib.ExitStack() as held:
        for _ in range(80):
            held.enter_context(served.connect())
        eventually(lambda: len(served.server.connections) >= 80)
        assert trims == []
    eventually(lambda: trims)
    eventually(lambda: not served.server.connections)
    assert len(trims) <= 2  # at a quarter of 80, and at a quarter of that at most


def test_a_large_answer_comes_whole(served: Served) -> None:
    status, fields, body = served.say(f"GET {LARGE_PATH} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    assert status == 200
    assert len(body) == int(fields["content-length"]) > 1_000_000


def test_a_chunked_body_is_read(served: Served) -> None:
    fields = ("Content-Type: application/json", "Transfer-Encoding: chunked")
    chunks = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in (JOB[:7], JOB[7:]))
    head = served.head("POST", "/v1/restorations", *fields)
    assert served.say(head + chunks + b"0\r\n\r\n")[0] == 202


def test_chunks_of_one_byte_are_refused_before_they_cost_much(served: Served) -> None:
    fields = ("Content-Type: multipart/form-data; boundary=b", "Transfer-Encoding: chunked")
    data = served.head("POST", "/v1/restorations", *fields) + b"1\r\na\r\n" * 100_000
    status, _, body = served.say(data)
    assert status == 400
    assert "chunks" in json.loads(body)["detail"]


def test_a_large_body_comes_whole(served: Served, photo: bytes) -> None:
    part = b'--b\r\nContent-Disposition: form-data; name="image"; filename="a.jpg"\r\n\r\n'
    body = part + photo + b"\xff" * 3_000_000 + b"\r\n--b--\r\n"
    fields = ("Content-Type: multipart/form-data; boundary=b", f"Content-Length: {len(body)}")
    status, _, answer = served.say(served.head("POST", "/v1/restorations", *fields) + body)
    assert status == 202
    assert json.loads(answer)["status"] == "queued"
    eventually(lambda: served.server.resources.body_bytes.taken == 0)


def test_a_body_comes_whole_if_the_disk_is_slow(
    served: Served, photo: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    on_disk = served.server.resources.on_disk

    async def slowly(call: Callable[..., int], *args: Any) -> int:
        await asyncio.sleep(4 * connections._RIGHT_BEHIND_S)
        return await on_disk(call, *args)

    monkeypatch.setattr(served.server.resources, "on_disk", slowly)
    part = b'--b\r\nContent-Disposition: form-data; name="image"; filename="a.jpg"\r\n\r\n'
    body = part + photo + b"\xff" * 300_000 + b"\r\n--b--\r\n"
    fields = ("Content-Type: multipart/form-data; boundary=b", "Transfer-Encoding: chunked")
    chunk = b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)
    status, _, answer = served.say(served.head("POST", "/v1/restorations", *fields) + chunk)
    assert status == 202
    job = served.server.resources.services.store.get("acme", json.loads(answer)["id"])
    assert job.source["bytes"] == len(photo) + 300_000


def test_a_wrong_key_is_refused_before_the_body_comes(served: Served) -> None:
    fields = ("Content-Type: application/json", "Content-Length: 100000")
    answer = served.say(served.head("POST", "/v1/restorations", *fields, key="fm_live_none"))
    assert problem_of(answer) == (401, "unauthorized")


def test_a_body_that_nobody_read_is_not_called_malformed(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = served.server.resources.services.keys
    admit, calls = keys.admit, []

    def unavailable_once(*args: Any) -> Any:
        calls.append(args)
        if len(calls) == 1:
            raise Unavailable("The job store does not respond")
        return admit(*args)

    monkeypatch.setattr(keys, "admit", unavailable_once)
    fields = ("Content-Type: application/json", f"Content-Length: {len(JOB)}")
    head = served.head("POST", "/v1/restorations", *fields, "Expect: 100-continue")
    assert problem_of(served.say(head)) == (503, "unavailable")


def test_a_body_that_is_too_large_is_refused_before_it_comes(served: Served) -> None:
    fields = ("Content-Type: application/json", "Content-Length: 60000000")
    answer = served.say(served.head("POST", "/v1/restorations", *fields))
    assert problem_of(answer) == (413, "payload-too-large")


def test_a_key_is_counted_once_though_its_head_is_checked_first(serves: Serves) -> None:
    served = serves(rate_limit=2, rate_window_s=3_600)
    fields = ("Content-Type: application/json", f"Content-Length: {len(JOB)}")
    with served.connect() as client:
        client.sendall(served.head("POST", "/v1/restorations", *fields, "Expect: 100-continue"))
        assert client.recv(1_000).startswith(b"HTTP/1.1 100")
        client.sendall(JOB)
        assert read_answer(client)[0] == 202
    models = served.head("GET", "/v1/models")
    assert [served.say(models)[0] for _ in range(2)] == [200, 429]


def test_nobody_is_asked_for_a_body_that_is_refused(served: Served) -> None:
    fields = ("Content-Type: application/json", "Content-Length: 99", "Expect: 100-continue")
    head = served.head("POST", "/v1/restorations", *fields, key="fm_live_none")
    assert served.say(head)[0] == 401


def test_one_key_leaves_room_for_the_bodies_of_others(serves: Serves, enrol: Enrol) -> None:
    served = serves()
    other = enrol("other").secret
    fields = ("Content-Type: application/json", "Content-Length: 100000")
    with contextlib.ExitStack() as held:
        for _ in range(64):
            client = held.enter_context(served.connect())
            client.sendall(served.head("POST", "/v1/restorations", *fields))
        eventually(lambda: served.server.resources.bodies_of_keys.taken == 64)
        refused = served.say(served.head("POST", "/v1/restorations", *fields))
        assert problem_of(refused) == (429, "rate-limited")
        assert refused[1]["retry-after"]
        fields = ("Content-Type: application/json", f"Content-Length: {len(JOB)}", "Expect: x")
        head = served.head("POST", "/v1/restorations", *fields[:2], key=other)
        assert served.say(head + JOB)[0] == 202
    eventually(lambda: served.server.resources.bodies_of_keys.taken == 0)


def test_the_bytes_of_bodies_are_bounded(serves: Serves) -> None:
    served = serves(max_upload_bytes=1_000_000)
    fields = ("Content-Type: multipart/form-data; boundary=b", "Content-Length: 900000")
    head = served.head("POST", "/v1/restorations", *fields)
    assert problem_of(served.say(head + bytes(900_000))) == (429, "rate-limited")
    eventually(lambda: served.server.resources.body_bytes.taken == 0)


def test_a_body_has_to_come_at_a_pace(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bodies, "WINDOW_S", 0.5)
    fields = ("Content-Type: application/json", "Content-Length: 100000")
    answer = served.say(served.head("POST", "/v1/restorations", *fields) + b"{")
    assert answer[0] == 408
    assert json.loads(answer[2])["retryable"]


def test_who_sends_nothing_is_disconnected(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "_HEAD_S", 0.2)
    with served.connect() as client:
        assert client.recv(1) == b""


def test_who_does_not_read_an_answer_is_disconnected(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "_TAKE_S", 0.2)
    with served.connect(receive_buffer_bytes=4_096) as client:
        client.sendall(f"GET {LARGE_PATH} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        eventually(lambda: len(served.server.connections) == 1)
        eventually(lambda: len(served.server.connections) == 0)


def test_the_longest_silent_make_room_for_the_newest(served: Served) -> None:
    served.server.max_connections = 5
    with contextlib.ExitStack() as held:
        clients = [held.enter_context(served.connect()) for _ in range(20)]
        eventually(lambda: len(served.server.connections) == 5)
        assert served.say(GET + b"Host: x\r\n\r\n")[0] == 200
        assert clients[0].recv(1) == b""


def test_streams_and_long_polls_hold_no_thread(
    serves: Serves, submit: Any, client: Any, store: Any
) -> None:
    served = serves(api_threads=2)
    job_id = submit(client).get_json()["id"]
    path = f"/v1/restorations/{job_id}"
    with contextlib.ExitStack() as held:
        streams = [held.enter_context(served.connect()) for _ in range(20)]
        polls = [held.enter_context(served.connect()) for _ in range(20)]
        for stream, poll in zip(streams, polls, strict=True):
            stream.sendall(served.head("GET", f"{path}/events"))
            poll.sendall(served.head("GET", f"{path}?wait=60"))
        services = served.server.resources.services
        eventually(lambda: services.streaming_slots.taken == services.waiting_slots.taken == 20)
        assert served.say(served.head("GET", path))[0] == 200
        store.cancel("acme", job_id)
        for stream, poll in zip(streams, polls, strict=True):
            assert json.loads(read_answer(poll)[2])["status"] == Status.CANCELED
            assert b'"status":"canceled"' in read_answer(stream)[2]
    eventually(lambda: services.streaming_slots.taken == services.waiting_slots.taken == 0)


def test_who_leaves_a_stream_or_a_long_poll_gives_the_slot_back(
    served: Served, submit: Any, client: Any
) -> None:
    path = f"/v1/restorations/{submit(client).get_json()['id']}"
    services = served.server.resources.services
    with served.connect() as stream, served.connect() as poll:
        stream.sendall(served.head("GET", f"{path}/events"))
        poll.sendall(served.head("GET", f"{path}?wait=60"))
        eventually(lambda: services.streaming_slots.taken == services.waiting_slots.taken == 1)
    eventually(lambda: services.streaming_slots.taken == services.waiting_slots.taken == 0)


def test_a_submission_may_wait_for_its_job(served: Served, store: Any, succeed: Any) -> None:
    fields = ("Content-Type: application/json", f"Content-Length: {len(JOB)}", "Prefer: wait=60")
    with served.connect() as waiting:
        waiting.sendall(served.head("POST", "/v1/restorations", *fields) + JOB)
        eventually(lambda: served.server.resources.services.waiting_slots.taken == 1)
        jobs, _ = store.page("acme", limit=5)
        assert len(jobs) == 1
        succeed("acme", jobs[0].id)
        status, found, body = read_answer(waiting)
    assert (status, found["preference-applied"]) == (200, "wait=60")
    assert json.loads(body)["status"] == Status.SUCCEEDED
    assert len(store.page("acme", limit=5)[0]) == 1  # submitted once
