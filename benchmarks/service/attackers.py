"""Clients that hold connections and do not do their part.

``python -m benchmarks.service.attackers``, JSON in and out. They reach loopback only, are bounded
in number and time, and end by themselves.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import sys
import time
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass

#: The largest answer without a key: the script of the API reference (3.5 MB).
LARGE_PATH = "/docs/assets/scalar.standalone.js"
MAX_CLIENTS, MAX_SECONDS = 1_000, 120.0
_RECEIVE_BUFFER_BYTES = 4_096


@dataclass(frozen=True, slots=True)
class Attack:
    """``clients`` connections of one ``kind``, held for ``seconds`` or until the server ends them.

    ``key`` and ``job_id`` name an API key and a queued job of its tenant.
    """

    kind: str
    port: int
    clients: int
    seconds: float
    key: str
    job_id: str


@dataclass(frozen=True, slots=True)
class Held:
    """How many connections the server ended itself, and how many ended with an error status."""

    ended: int
    statuses: dict[str, int]


class Client:
    """One connection of an attack, and what came back on it."""

    def __init__(self, attack: Attack, opened: socket.socket) -> None:
        self.attack, self.opened = attack, opened
        self.loop = asyncio.get_running_loop()
        self.head = b""

    async def send(self, data: bytes) -> None:
        await self.loop.sock_sendall(self.opened, data)

    async def read_to_end(self) -> None:
        while data := await self.loop.sock_recv(self.opened, 65_536):
            self.head = self.head or data[:64]

    async def read_slowly(self) -> None:
        while data := await self.loop.sock_recv(self.opened, 1):
            self.head += data if len(self.head) < 64 else b""
            await asyncio.sleep(1)

    def request(self, method: str, path: str, *more: str) -> bytes:
        lines = (f"{method} {path} HTTP/1.1", f"Host: 127.0.0.1:{self.attack.port}", *more)
        return "".join(f"{line}\r\n" for line in lines).encode()

    def upload(self) -> bytes:
        return self.request(
            "POST",
            "/v1/restorations",
            f"Authorization: Bearer {self.attack.key}",
            "Content-Type: application/json",
            "Content-Length: 100000",
        )


async def _idle(client: Client) -> None:
    await client.read_to_end()


async def _one_byte(client: Client) -> None:
    await client.send(b"G")
    await client.read_to_end()


async def _half_a_head(client: Client) -> None:
    await client.send(client.request("GET", "/healthz"))
    await client.read_to_end()


async def _head_a_byte_a_second(client: Client) -> None:
    await client.send(client.request("GET", "/healthz") + b"X: ")
    await _until_it_ends(client, b"x")


async def _no_body(client: Client) -> None:
    await client.send(client.upload() + b"\r\n")
    await client.read_to_end()


async def _no_body_no_key(client: Client) -> None:
    head = client.upload().replace(client.attack.key.encode(), b"fm_live_none")
    await client.send(head + b"\r\n")
    await client.read_to_end()


async def _body_a_byte_a_second(client: Client) -> None:
    await client.send(client.upload() + b"\r\n{")
    await _until_it_ends(client, b" ")


async def _lingering(client: Client) -> None:
    await client.send(client.request("GET", "/healthz", "Connection: close") + b"\r\n")
    await client.read_to_end()


async def _slow_reader(client: Client) -> None:
    await client.send(client.request("GET", LARGE_PATH) + b"\r\n")
    await client.read_slowly()


async def _unread_stream(client: Client) -> None:
    await client.send(_stream(client))
    await asyncio.sleep(MAX_SECONDS)


async def _read_stream(client: Client) -> None:
    await client.send(_stream(client))
    await client.read_to_end()


def _stream(client: Client) -> bytes:
    path = f"/v1/restorations/{client.attack.job_id}/events"
    return client.request("GET", path, f"Authorization: Bearer {client.attack.key}") + b"\r\n"


async def _until_it_ends(client: Client, piece: bytes) -> None:
    reading = asyncio.ensure_future(client.read_to_end())
    while not reading.done():
        await asyncio.sleep(1)
        await client.send(piece)
    await reading


KINDS: dict[str, Callable[[Client], Awaitable[None]]] = {
    "idle": _idle,
    "one byte": _one_byte,
    "half a head": _half_a_head,
    "a head, one byte a second": _head_a_byte_a_second,
    "a head without its body": _no_body,
    "a head without its body, wrong key": _no_body_no_key,
    "a body, one byte a second": _body_a_byte_a_second,
    "lingering after the answer": _lingering,
    "an answer, one byte a second": _slow_reader,
    "event streams that nobody reads": _unread_stream,
    "event streams": _read_stream,
}


async def _hold(attack: Attack, give_up_s: float) -> tuple[bool, str]:
    """Whether the server ended the connection, and the status that it gave."""
    loop = asyncio.get_running_loop()
    opened = socket.socket()
    opened.setblocking(False)
    if attack.kind == "an answer, one byte a second":
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BUFFER_BYTES)
    client = Client(attack, opened)
    ended = True
    try:
        async with asyncio.timeout_at(loop.time() + give_up_s - time.monotonic()):
            await loop.sock_connect(opened, ("127.0.0.1", attack.port))
            with contextlib.suppress(OSError):  # reset: ended by the server, too
                await KINDS[attack.kind](client)
            if attack.kind == "lingering after the answer":
                await asyncio.sleep(attack.seconds)  # keeps its side open
    except TimeoutError:
        ended = attack.kind == "lingering after the answer" and bool(client.head)
    finally:
        opened.close()
    status = client.head[9:12].decode("ascii", "replace")
    return ended, status


async def attack(what: Attack) -> Held:
    """Hold all connections at once. Raises ValueError for more than the bounds allow."""
    if what.clients > MAX_CLIENTS or what.seconds > MAX_SECONDS:
        raise ValueError(f"at most {MAX_CLIENTS} clients for {MAX_SECONDS:g} s")
    give_up_s = time.monotonic() + what.seconds
    found = await asyncio.gather(*(_hold(what, give_up_s) for _ in range(what.clients)))
    statuses: dict[str, int] = {}
    for _, status in found:
        statuses[status or "none"] = statuses.get(status or "none", 0) + 1
    return Held(ended=sum(ended for ended, _ in found), statuses=statuses)


if __name__ == "__main__":
    sys.stdout.write(json.dumps(asdict(asyncio.run(attack(Attack(**json.load(sys.stdin)))))))
