"""Each request gets an id, a log line and its metrics.

A request that may change something gets a second line, for the audit: who did what, and the
status.
"""

from __future__ import annotations

import logging
import re
import time
from contextlib import ExitStack
from uuid import uuid4

from flask import Flask, Response, g, request

from api.context import current_services
from api.jobs.long_poll import WaitResponse
from shared.telemetry import (
    REQUEST_SECONDS,
    REQUESTS,
    Span,
    bind,
    current_span,
    request_exemplar,
    start_span,
)
from shared.tenants.api_keys import ApiKey

_log = logging.getLogger(__name__)
_audit = logging.getLogger("facemend.audit")
_ID = re.compile(r"[A-Za-z0-9._-]{8,64}", re.ASCII)
_PROBES = frozenset({"/healthz", "/readyz", "/metrics"})  # called every few seconds
_SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
_METHODS = _SAFE_METHODS | {"POST", "PUT", "PATCH", "DELETE"}


def install(app: Flask) -> None:
    """Log every request to ``app``, and start its deadline.

    Must run before all other hooks, because they use the request id.
    """
    app.before_request(_begin)
    app.after_request(_end)
    app.teardown_request(_unbind)


def set_log_job(job_id: str) -> None:
    """Put ``job_id`` on the log lines of the current request, if its path does not contain it."""
    g.job_id = job_id
    g.bound.enter_context(bind(job_id=job_id))


def set_log_key(key: ApiKey) -> None:
    """Put the tenant and the API key on the log lines of the current request."""
    g.bound.enter_context(bind(tenant=key.tenant, key_id=key.id))


def _begin() -> None:
    # A request that waits for a job comes here twice, and stays one request.
    g.began_s = request.environ.setdefault("facemend.began_s", time.monotonic())
    g.request_id = request.environ.setdefault("facemend.request_id", _request_id())
    g.bound = ExitStack()
    g.bound.enter_context(bind(request_id=g.request_id))
    span = request.environ.get("facemend.span")
    if span is None:
        span = request.environ["facemend.span"] = _start_span()
    g.span = g.bound.enter_context(current_span(span))
    if job_id := (request.view_args or {}).get("job_id"):
        g.bound.enter_context(bind(job_id=job_id))
    g.bound.enter_context(current_services().deadline.start())


def _start_span() -> Span:
    """Begin the step of the request, in the trace of the client if it sends one."""
    rule = request.url_rule
    if rule and rule.rule in _PROBES:
        return Span()
    name = f"{request.method if request.method in _METHODS else 'other'} "
    parent = request.headers.get("traceparent", "")
    return start_span(name + (rule.rule if rule else "unknown"), parent=parent, kind="server")


def _request_id() -> str:
    """A proxy's name is kept, so that its logs and ours can be laid side by side."""
    given = request.headers.get("X-Request-Id", "")
    return given if _ID.fullmatch(given) else f"req_{uuid4().hex}"


def _end(response: Response) -> Response:
    if isinstance(response, WaitResponse):
        return response  # not an answer yet
    response.headers.add("X-Request-Id", g.request_id)
    took_s = time.monotonic() - g.began_s
    rule, given, status = request.url_rule, request.method, response.status_code
    route = rule.rule if rule else "unknown"  # never the path of the client
    method = given if given in _METHODS else "other"
    REQUESTS.labels(method, route, str(status)).inc()
    exemplar = request_exemplar(g.request_id)
    REQUEST_SECONDS.labels(method, route).observe(took_s, exemplar)
    _end_span(status)
    action, facts = f"{method} {route}", {"status": status, **_who()}
    level = logging.DEBUG if route in _PROBES else logging.INFO
    _log.log(level, action, extra={"took_ms": round(took_s * 1000), **facts})
    if given not in _SAFE_METHODS and rule:
        _audit.info(action, extra=facts)
    return response


def _end_span(status: int) -> None:
    g.span.set(status=status, request_id=g.request_id)
    if status >= 500:
        g.span.fail(str(status))
    g.span.end()


def _who() -> dict[str, str]:
    """Return tenant, key and job of the request, as far as they are known."""
    key = g.get("api_key")
    found = {} if key is None else {"tenant": key.tenant, "key_id": key.id}
    job_id = g.get("job_id") or (request.view_args or {}).get("job_id")
    return found if job_id is None else {**found, "job_id": job_id}


def _unbind(_: BaseException | None) -> None:
    if "bound" in g:
        g.bound.close()
