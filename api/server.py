"""The gunicorn worker: slow clients keep no thread, and what cannot be parsed gets a problem, too.

Named as ``worker_class`` in deploy/docker/gunicorn.conf.py.
"""

from __future__ import annotations

import json
import logging
import math
import socket
import time
from typing import Any, Self
from uuid import uuid4

from gunicorn import util  # type: ignore[import-untyped]  # no types
from gunicorn.http import errors as http  # type: ignore[import-untyped]  # no types
from gunicorn.workers.gthread import ThreadWorker  # type: ignore[import-untyped]  # no types

from api.problems import MEDIA_TYPE
from shared.errors import FacemendError, Internal, MalformedRequest, SlowRequest
from shared.redis.timed_socket import limit

_log = logging.getLogger(__name__)

#: A client that sends or takes nothing for so long gives its thread back.
STALL_S = 20
_REASONS = {
    400: "Bad Request",
    408: "Request Timeout",
    414: "URI Too Long",
    431: "Request Header Fields Too Large",
}


class Arrival(socket.socket):
    """A client's connection; the request on it must have come in whole by ``until_s``."""

    until_s = math.inf

    @classmethod
    def on(cls, plain: socket.socket) -> Self:
        """Take the connection over from ``plain``."""
        return cls(plain.family, plain.type, plain.proto, fileno=plain.detach())

    def recv(self, size: int, flags: int = 0, /) -> bytes:
        """Raises SlowRequest when the client has been silent, or slow, for too long."""
        left_s = min(STALL_S, self.until_s - time.monotonic())
        if left_s <= 0:
            raise SlowRequest
        limit(self, "receive", left_s)  # the kernel's: gunicorn sets sockets to blocking again
        try:
            return super().recv(size, flags)
        except BlockingIOError:
            raise SlowRequest from None


class Worker(ThreadWorker):  # type: ignore[misc]  # gunicorn publishes no types
    #: Time for a whole request to arrive; deploy/docker/gunicorn.conf.py sets it.
    arrival_s = 60.0

    def handle(self, conn: Any) -> Any:
        """Serve one request of a connection, in a thread that no client can keep."""
        if not isinstance(conn.sock, Arrival):
            conn.sock = Arrival.on(conn.sock)
            limit(conn.sock, "send", STALL_S)
        conn.sock.until_s = time.monotonic() + self.arrival_s
        return super().handle(conn)

    def handle_request(self, req: Any, conn: Any) -> Any:
        """Answer a request; what comes on its connection afterwards has its own time."""
        try:
            return super().handle_request(req, conn)
        finally:
            conn.sock.until_s = math.inf

    def handle_error(self, req: Any, client: Any, addr: Any, exc: Exception) -> None:
        """Answer a request that cannot be parsed; ``client`` is the socket."""
        status, error = _explain(exc)
        request_id = f"req_{uuid4().hex}"
        if isinstance(error, Internal):
            _log.error("not foreseen", exc_info=exc, extra={"request_id": request_id})
        else:
            _log.info("refused: %s", exc, extra={"request_id": request_id, "status": status})
        problem = error.problem() | {"status": status, "request_id": request_id}
        body = json.dumps(problem).encode()
        head = (
            f"HTTP/1.1 {status} {_REASONS.get(status, 'Internal Server Error')}\r\n"
            f"Connection: close\r\nContent-Type: {MEDIA_TYPE}\r\nContent-Length: {len(body)}\r\n"
            f"X-Request-Id: {request_id}\r\nX-Content-Type-Options: nosniff\r\n\r\n"
        )
        try:
            util.write_nonblock(client, head.encode() + body)
        except OSError:
            _log.debug("the client did not wait for its answer")


def _explain(exc: Exception) -> tuple[int, FacemendError]:
    if isinstance(exc, SlowRequest):
        return exc.http_status, exc
    if isinstance(exc, http.LimitRequestLine):
        return 414, MalformedRequest("The address is too long.")
    if isinstance(exc, http.LimitRequestHeaders):
        return 431, MalformedRequest("The headers are too long or too many.")
    if isinstance(exc, http.ParseException | http.InvalidSchemeHeaders):
        return 400, MalformedRequest("This is no valid HTTP request.")
    return 500, Internal("Not your fault. Quote the request_id when you report it.")
