"""A webhook receiver on loopback that keeps every message, for the demo and the tests."""

from __future__ import annotations

import contextlib
import queue
import time
from collections.abc import Iterable
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Self

from shared.errors import StackFailed


@dataclass(frozen=True)
class Received:
    """``at``: Unix seconds. ``headers``: names in lower case."""

    at: float
    headers: dict[str, str]
    body: bytes


class WebhookReceiver:
    """Responds to each POST with ``status``."""

    def __init__(self, *, status: int = 204, ports: Iterable[int] = (0,)) -> None:
        """The first free one of ``ports`` is used; 0: any. Raises StackFailed."""
        self._inbox: queue.Queue[Received] = queue.Queue()
        self._server = _listen(ports, _handler(self._inbox, status))
        self._server.daemon_threads = True
        self._thread = Thread(target=self._server.serve_forever, args=(0.1,), daemon=True)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}/hook"

    def wait(self, timeout_s: float) -> Received | None:
        """Return the next message, or None if none comes in time."""
        try:
            return self._inbox.get(timeout=timeout_s)
        except queue.Empty:
            return None

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def _listen(ports: Iterable[int], handler: type[BaseHTTPRequestHandler]) -> ThreadingHTTPServer:
    for port in ports:
        with contextlib.suppress(OSError):
            return ThreadingHTTPServer(("127.0.0.1", port), handler)
    raise StackFailed("no port is free for a webhook receiver")


def _handler(inbox: queue.Queue[Received], status: int) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        timeout = 10

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            headers = {name.lower(): value for name, value in self.headers.items()}
            inbox.put(Received(time.time(), headers, body))
            self.send_response(status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # its name there
            """Log nothing: the inbox has every message."""

    return Handler
