"""Each request gets a name, one line in the log, and a place in the metrics.

What changes something gets a second line, for the audit: who did what, and how it ended.
"""

from __future__ import annotations

import logging
import re
import time
from contextlib import ExitStack
from uuid import uuid4

from flask import Flask, Response, g, request

from api.context import services
from shared.telemetry import REQUEST_SECONDS, REQUESTS, bind

_log = logging.getLogger(__name__)
_audit = logging.getLogger("facemend.audit")
_ID = re.compile(r"[A-Za-z0-9._-]{8,64}", re.ASCII)
_UNWATCHED = frozenset({"/healthz", "/readyz", "/metrics"})  # asked every few seconds
_READING = frozenset({"GET", "HEAD", "OPTIONS"})
_METHODS = _READING | {"POST", "PUT", "PATCH", "DELETE"}


def install(app: Flask) -> None:
    """Name and log every request to ``app``, and begin to count how long it waits for others.

    Before all other hooks: they need the name.
    """
    app.before_request(_begin)
    app.after_request(_end)
    app.teardown_request(_unbind)


def about(job_id: str) -> None:
    """Say which job the current request is about, where its path does not."""
    g.job_id = job_id


def _begin() -> None:
    g.began_s = time.monotonic()
    given = request.headers.get("X-Request-Id", "")
    # A proxy's name is kept, so that its logs and ours can be laid side by side.
    g.request_id = given if _ID.fullmatch(given) else f"req_{uuid4().hex}"
    g.bound = ExitStack()
    g.bound.enter_context(bind(request_id=g.request_id))
    g.bound.enter_context(services().patience.fresh())


def _end(response: Response) -> Response:
    response.headers.add("X-Request-Id", g.request_id)
    took_s = time.monotonic() - g.began_s
    rule, given, status = request.url_rule, request.method, response.status_code
    route = rule.rule if rule else "unknown"  # never what was asked for
    method = given if given in _METHODS else "other"
    REQUESTS.labels(method, route, str(status)).inc()
    REQUEST_SECONDS.labels(method, route).observe(took_s)
    action, facts = f"{method} {route}", {"status": status, **_who()}
    level = logging.DEBUG if route in _UNWATCHED else logging.INFO
    _log.log(level, action, extra={"took_ms": round(took_s * 1000), **facts})
    if given not in _READING and rule:
        _audit.info(action, extra=facts)
    return response


def _who() -> dict[str, str]:
    """Who asked, and about which job: what an audit needs of a call."""
    key = g.get("api_key")
    found = {} if key is None else {"tenant": key.tenant, "key_id": key.id}
    job_id = g.get("job_id") or (request.view_args or {}).get("job_id")
    return found if job_id is None else {**found, "job_id": job_id}


def _unbind(_: BaseException | None) -> None:
    if "bound" in g:
        g.bound.close()
