"""Every error becomes an RFC 9457 problem; the unforeseen is logged whole and told nothing."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from typing import Any

from flask import Flask, Response, g, request
from gunicorn.http.errors import ParseException  # type: ignore[import-untyped]  # no types
from werkzeug.exceptions import HTTPException, MethodNotAllowed

from shared import errors
from shared.errors import FacemendError, Internal

_log = logging.getLogger(__name__)

MEDIA_TYPE = "application/problem+json"

#: What the web framework raises by itself, in our words.
_FOREIGN: Mapping[int, FacemendError] = {
    404: errors.NotFound("There is no such route."),
    413: errors.PayloadTooLarge("The body is larger than this route takes."),
    415: errors.UnsupportedMediaType(),
}


def install(app: Flask) -> None:
    """Answer each error of ``app`` with a problem."""
    app.register_error_handler(FacemendError, _ours)
    app.register_error_handler(HTTPException, _framework)
    app.register_error_handler(ParseException, _unparsable)
    app.register_error_handler(Exception, _unforeseen)


def answer(error: FacemendError, headers: Mapping[str, str] | None = None) -> Response:
    """The problem as a response, with the headers that belong to its kind."""
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


def _ours(error: FacemendError) -> Response:
    if error.http_status >= 500 and not isinstance(error, errors.RequestError):
        return _unforeseen(error)
    if isinstance(error, errors.Unavailable):
        # One line, no traceback: in an outage there is one for each request.
        _log.warning("unavailable: %s (%r)", error.detail, error.__cause__)
        return answer(errors.Unavailable(retry_after_s=error.retry_after_s))  # names no host
    return answer(error)


def _framework(error: HTTPException) -> Response:
    if isinstance(error, MethodNotAllowed):
        allowed = ", ".join(sorted(error.valid_methods or ()))
        return answer(errors.MethodNotAllowed(f"Allowed here: {allowed}."), {"Allow": allowed})
    ours = _FOREIGN.get(error.code or 500)
    if ours is None and error.code is not None and error.code < 500:
        ours = errors.MalformedRequest(error.description or "")
    return _unforeseen(error) if ours is None else answer(ours)


def _unparsable(_: ParseException) -> Response:
    """The server finds out while we read the body, as with a broken chunk."""
    return answer(errors.MalformedRequest("The body is no valid HTTP."))


def _unforeseen(error: Exception) -> Response:
    _log.error("not foreseen: %s %s", request.method, request.path, exc_info=error)
    return answer(Internal("Not your fault. Quote the request_id when you report it."))
