"""Every error becomes an RFC 9457 problem. Unexpected errors are logged and not described."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from typing import Any

from flask import Flask, Response, g, request
from werkzeug.exceptions import HTTPException, MethodNotAllowed

from shared import errors
from shared.errors import FacemendError, Internal

_log = logging.getLogger(__name__)

MEDIA_TYPE = "application/problem+json"

#: Errors of the web framework, as errors of the tree.
_FOREIGN: Mapping[int, FacemendError] = {
    404: errors.NotFound("This route does not exist."),
    413: errors.PayloadTooLarge("The body is larger than this route accepts."),
    415: errors.UnsupportedMediaType(),
}


#: What a client reads of a part that is away. The names are those of GET /readyz.
_PARTS: Mapping[str, str] = {
    "redis": "The job store (redis) does not respond. Repeat the request later.",
    "s3": "The object storage (s3) does not respond. Repeat the request later.",
}


def install(app: Flask) -> None:
    """Turn each error of ``app`` into a problem response."""
    app.register_error_handler(FacemendError, _from_tree)
    app.register_error_handler(HTTPException, _from_framework)
    app.register_error_handler(Exception, _unexpected)


def problem_response(error: FacemendError, headers: Mapping[str, str] | None = None) -> Response:
    """Return the problem as a response, with the headers of its kind."""
    problem: dict[str, Any] = error.problem() | {
        "instance": request.path,
        "request_id": g.get("request_id"),
    }
    response = Response(json.dumps(problem), error.http_status, content_type=MEDIA_TYPE)
    response.headers.update(headers or {})
    retry_after_s = getattr(error, "retry_after_s", None)
    if retry_after_s is not None:
        response.headers["Retry-After"] = str(retry_after_s)
    if isinstance(error, errors.Unauthorized):
        response.headers["WWW-Authenticate"] = 'Bearer realm="facemend"'
    if isinstance(error, errors.Forbidden):
        response.headers["WWW-Authenticate"] = 'Bearer realm="facemend", error="insufficient_scope"'
    response.headers["Cache-Control"] = "no-store"
    return response


def _from_tree(error: FacemendError) -> Response:
    if error.http_status >= 500 and not isinstance(error, errors.RequestError):
        return _unexpected(error)
    if isinstance(error, errors.Unavailable):
        # One line without traceback: in an outage, each request logs one.
        _log.warning("unavailable: %s (%r)", error.detail, error.__cause__)
        return problem_response(_without_host(error))
    return problem_response(error)


def _without_host(error: errors.Unavailable) -> errors.Unavailable:
    """Return the error for clients: it names the part as /readyz does, but no host."""
    detail = _PARTS.get(error.part, "")
    public = errors.Unavailable(detail, retry_after_s=error.retry_after_s)
    public.part = error.part
    return public


def _from_framework(error: HTTPException) -> Response:
    if isinstance(error, MethodNotAllowed):
        allowed = ", ".join(sorted(error.valid_methods or ()))
        return problem_response(
            errors.MethodNotAllowed(f"This path supports {allowed}."), {"Allow": allowed}
        )
    ours = _FOREIGN.get(error.code or 500)
    if ours is None and error.code is not None and error.code < 500:
        ours = errors.MalformedRequest(error.description or "")
    return _unexpected(error) if ours is None else problem_response(ours)


def _unexpected(error: Exception) -> Response:
    _log.error("unexpected error: %s %s", request.method, request.path, exc_info=error)
    return problem_response(
        Internal("This is an error of the service. Report it with the request_id.")
    )
