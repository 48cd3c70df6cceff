"""A webhook receiver: each path misbehaves in its own way, and every arrival is recorded."""

from __future__ import annotations

import json
import select
import socket
import struct
import time
import zlib
from collections import defaultdict
from dataclasses import dataclass
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, Lock, Thread
from typing import Any, Self

METADATA_URL = "http://169.254.169.254/latest/meta-data/"
_DRIP_S = 0.5
_ENDLESS = b"x" * 65_536


@dataclass(frozen=True, slots=True)
class Arrival:
    """``at`` is Unix seconds."""

    at: float
    path: str
    event_id: str
    kind: str
    job_id: str
    headers: dict[str, str]
    body: bytes


class Receiver:
    """``/ok`` takes all; ``/drip``, ``/redirect``, ``/huge``, ``/gone`` … do what they are called.

    ``good`` makes all of them good.
    """

    def __init__(self) -> None:
        self.good = Event()
        self.retry_after_s = 8
        self.sent_bytes = 0  # of the endless answers
        self.at_once = 0
        self.most_at_once = 0
        self._arrivals: list[Arrival] = []
        self._lock = Lock()
        self._server = _Server(self)
        self._thread = Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self.closing = Event()

    def url(self, path: str = "/ok") -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}{path}"

    def arrivals(self, path: str | None = None) -> list[Arrival]:
        with self._lock:
            return [arrival for arrival in self._arrivals if path in {None, arrival.path}]

    def by_job(self) -> dict[str, list[Arrival]]:
        found = defaultdict(list)
        for arrival in self.arrivals():
            found[arrival.job_id].append(arrival)
        return found

    def note(self, arrival: Arrival) -> None:
        with self._lock:
            self._arrivals.append(arrival)

    def enter(self, step: int) -> None:
        with self._lock:
            self.at_once += step

    def look(self) -> None:
        """Count open connections anew; ``at_once`` may include some that have just closed."""
        with self._lock:
            self.most_at_once = max(self.most_at_once, self.at_once)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self.closing.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, receiver: Receiver) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.receiver = receiver


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    timeout = 30

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        message: dict[str, Any] = json.loads(body)
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.server.receiver.note(
            Arrival(
                time.time(),
                self.path,
                headers["webhook-id"],
                message["type"],
                message["data"].get("id", ""),
                headers,
                body,
            )
        )
        answer = getattr(self, f"_{self.path.strip('/')}", self._ok)
        if self.server.receiver.good.is_set():
            answer = self._ok
        try:
            answer()
        except OSError:
            self.close_connection = True

    def do_GET(self) -> None:
        """Record the request: a webhook must not follow a redirect."""
        self.server.receiver.note(Arrival(time.time(), f"GET {self.path}", "", "", "", {}, b""))
        self._end(200)

    def _ok(self) -> None:
        self._end(204)

    def _down(self) -> None:
        self._end(500)

    def _gone(self) -> None:
        self._end(410)

    def _later(self) -> None:
        self._end(429, ("Retry-After", str(self.server.receiver.retry_after_s)))

    def _redirect(self) -> None:
        self._end(302, ("Location", METADATA_URL))

    def _astray(self) -> None:
        self._end(302, ("Location", self.server.receiver.url("/stolen")))

    def _lost(self) -> None:
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close_connection = True

    def _drip(self) -> None:
        """Send a byte now and then, until the other side closes."""
        receiver = self.server.receiver
        receiver.enter(1)
        try:
            while not receiver.closing.is_set():
                if select.select([self.connection], [], [], _DRIP_S)[0]:
                    return
                receiver.look()
                self.wfile.write(b"H")
                self.wfile.flush()
        finally:
            receiver.enter(-1)

    def _huge(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(1 << 30))
        self.end_headers()
        for _ in range((1 << 30) // len(_ENDLESS)):
            self.wfile.write(_ENDLESS)
            self.server.receiver.sent_bytes += len(_ENDLESS)

    def _bomb(self) -> None:
        """128 MiB of zeros, compressed; unpacking it shows in the memory of the process."""
        packed = _bomb()
        self.send_response(200)
        self.send_header("Content-Encoding", "gzip")
        self.send_header("Content-Length", str(len(packed)))
        self.end_headers()
        self.wfile.write(packed)

    def _end(self, status: int, *headers: tuple[str, str]) -> None:
        self.send_response(status)
        for name, value in headers:
            self.send_header(name, value)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # its name there
        """Log nothing: the arrivals are recorded."""


@cache
def _bomb() -> bytes:
    pack = zlib.compressobj(9, zlib.DEFLATED, 31)
    zeros = bytes(1 << 20)
    return b"".join(pack.compress(zeros) for _ in range(128)) + pack.flush()
