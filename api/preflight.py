"""The check of a request's head before its body is read: whoever is refused sends no body."""

from __future__ import annotations

from typing import Any

from flask import Flask, request

from api import auth
from api.context import current_services
from api.jobs.submission import MAX_JSON_BYTES, MULTIPART
from shared.errors import FacemendError


def body_limit(app: Flask, environ: dict[str, Any]) -> int:
    """Return how many bytes of body to read; 0 if the answer does not depend on the body.

    The caller's key is checked and counted here; ``environ`` keeps the result, so that the request
    itself does not count it again.
    """
    with app.request_context(environ):
        if request.routing_exception is not None:
            return 0
        with current_services().deadline.start():
            try:
                key = auth.admit()
            except FacemendError as error:
                environ[auth.REFUSED] = error
                return 0
        if key is None:
            return 0  # no public route reads a body
        most: int = app.config["MAX_CONTENT_LENGTH"]
        limit = most if request.mimetype == MULTIPART else MAX_JSON_BYTES
        # One byte more than allowed: the application sees that the body is too large.
        return 0 if (request.content_length or 0) > limit else limit + 1
