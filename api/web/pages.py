"""Pages for people: the demo page, the reference of the HTTP API, and headers that protect them."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import cast
from urllib.parse import urlsplit

from flask import (
    Blueprint,
    Flask,
    Response,
    current_app,
    jsonify,
    render_template,
    send_from_directory,
)
from flask_openapi3.openapi import OpenAPI

from api.context import services
from shared.errors import Internal
from shared.settings import Settings

blueprint = Blueprint("web", __name__)

_PAGE_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: {storage};"
    " connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
# The reference's script writes style elements; it may still speak to nobody but us.
_REFERENCE_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline';"
    " img-src 'self' data: blob:; font-src 'self' data:; connect-src 'self';"
    " base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_BARE_POLICY = "default-src 'none'; frame-ancestors 'none'"
_REFERENCE_PACKAGE = "flask_openapi3_scalar"


def install(app: Flask) -> None:
    """Put headers on every answer of ``app`` that keep browsers from guessing."""
    app.after_request(_protect)


@blueprint.get("/")
def page() -> Response:
    """Upload a photo, see before and after."""
    return _html("page.html", _PAGE_POLICY.format(storage=_storage_origin(services().settings)))


@blueprint.get("/docs")
def reference() -> Response:
    """The OpenAPI document, readable; works without the internet."""
    return _html("reference.html", _REFERENCE_POLICY)


@blueprint.get("/docs/assets/<path:filename>")
def reference_asset(filename: str) -> Response:
    """The script of the reference, out of its package."""
    return send_from_directory(_reference_folder(), filename, max_age=3600)


@blueprint.get("/openapi.json")
def document() -> Response:
    """The contract."""
    return jsonify(cast("OpenAPI", current_app).api_doc)


def _html(template: str, policy: str) -> Response:
    response = Response(render_template(template), content_type="text/html; charset=utf-8")
    response.headers["Content-Security-Policy"] = policy
    return response


def _protect(response: Response) -> Response:
    if "Content-Security-Policy" not in response.headers:
        response.headers.add("Content-Security-Policy", _BARE_POLICY)
    response.headers.add("X-Content-Type-Options", "nosniff")
    response.headers.add("Referrer-Policy", "no-referrer")
    return response


def _storage_origin(settings: Settings) -> str:
    """Where presigned addresses point to, as a CSP source."""
    url = settings.s3_public_endpoint_url or settings.s3_endpoint_url
    if url is None:
        return f"https://s3.{settings.s3_region}.amazonaws.com"
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"


def _reference_folder() -> Path:
    """The folder of Scalar's script inside its package, which carries it for offline use."""
    spec = find_spec(_REFERENCE_PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise Internal(f"{_REFERENCE_PACKAGE} is not installed")
    return Path(spec.submodule_search_locations[0]) / "templates" / "scalar" / "js"
