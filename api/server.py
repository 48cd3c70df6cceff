"""The gunicorn worker: what never reaches the application is answered with a problem, too.

Named as ``worker_class`` in deploy/gunicorn.conf.py.
"""

from __future__ import annotations

import json
import logging
import socket
import struct
from typing import Any
from uuid import uuid4

from gunicorn import util  # type: ignore[import-untyped]  # no types
from gunicorn.http import errors as http  # type: ignore[import-untyped]  # no types
from gunicorn.workers.gthread import ThreadWorker  # type: ignore[import-untyped]  # no types

from api.problems import MEDIA_TYPE
from shared.errors import FacemendError, Internal, MalformedRequest

_log = logging.getLogger(__name__)

#: A client that sends or takes nothing for so long gives its thread back.
STALL_S = 20
_REASONS = {400: "Bad Request", 414: "URI Too Long", 431: "Request Header Fields Too Large"}


class Worker(ThreadWorker):  # type: ignore[misc]  # gunicorn publishes no types
    def handle(self, conn: Any) -> Any:
        """Serve one request of a connection, in a thread that a silent client cannot keep."""
        # The kernel's own time limit: gunicorn sets the socket to blocking again and again.
        limit = struct.pack("@ll", STALL_S, 0)
        conn.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, limit)
        conn.sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, limit)
        return super().handle(conn)

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
    if isinstance(exc, http.LimitRequestLine):
        return 414, MalformedRequest("The address is too long.")
    if isinstance(exc, http.LimitRequestHeaders):
        return 431, MalformedRequest("The headers are too long or too many.")
    if isinstance(exc, http.ParseException | http.InvalidSchemeHeaders):
        return 400, MalformedRequest("This is no valid HTTP request.")
    return 500, Internal("Not your fault. Quote the request_id when you report it.")
