"""Web pages: the page for photos, the operator's view, the API reference, security headers."""

from __future__ import annotations

from functools import cache
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
    request,
    send_from_directory,
)
from flask_openapi3.openapi import OpenAPI

from api.context import current_services
from api.openapi import servers
from api.web.languages import LANGUAGES, language_of, words
from shared.errors import Internal
from shared.settings import Settings

blueprint = Blueprint("web", __name__)

_PAGE_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: {storage};"
    " connect-src 'self' {storage}; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
# The script of the reference adds style elements. It may connect to this service only.
_REFERENCE_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline';"
    " img-src 'self' data: blob:; font-src 'self' data:; connect-src 'self';"
    " base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_DEFAULT_POLICY = "default-src 'none'; frame-ancestors 'none'"
_STATIC = Path(__file__).parent / "static"
_REFERENCE_PACKAGE = "flask_openapi3_scalar"


def install(app: Flask) -> None:
    """Add security headers to every response of ``app``."""
    app.after_request(_add_headers)


@blueprint.get("/")
def page() -> Response:
    """The page: many photos, before and after, faces to choose."""
    return _shell("page")


@blueprint.get("/admin")
def admin() -> Response:
    """The operator's view. It contains no data: its script asks the API, with a key."""
    return _shell("admin")


@blueprint.get("/docs")
def reference() -> Response:
    """The reference: the OpenAPI document for people. It works without internet access."""
    return _html(render_template("reference.html"), _REFERENCE_POLICY)


@blueprint.get("/docs/assets/<path:filename>")
def reference_asset(filename: str) -> Response:
    """A file of the reference, from the package of Scalar."""
    return send_from_directory(_reference_folder(), filename, max_age=3600)


@blueprint.get("/openapi.json")
def document() -> Response:
    """The OpenAPI document."""
    found = cast("OpenAPI", current_app).api_doc
    if request.script_root:
        found = {**found, "servers": servers(request.script_root)}
    return jsonify(found)


def _shell(name: str) -> Response:
    """Render a page in the language of the request, with links to its modules."""
    language = language_of(request)
    content = render_template(
        f"{name}.html",
        name=name,
        language=language,
        languages=LANGUAGES,
        words=words(language),
        modules=_modules(name),
    )
    response = _html(
        content, _PAGE_POLICY.format(storage=_storage_origin(current_services().settings))
    )
    response.headers["Content-Language"] = language
    response.headers["Vary"] = "Accept-Language, Cookie"
    return response


@cache
def _modules(name: str) -> list[str]:
    """Return the modules of a page, so that the browser loads them at once, not one by one."""
    files = [*(_STATIC / "common").glob("*.js"), *(_STATIC / name).glob("*.js")]
    return sorted(str(file.relative_to(_STATIC)) for file in files)


def _html(content: str, policy: str) -> Response:
    response = Response(content, content_type="text/html; charset=utf-8")
    response.headers["Content-Security-Policy"] = policy
    return response


def _add_headers(response: Response) -> Response:
    if "Content-Security-Policy" not in response.headers:
        response.headers.add("Content-Security-Policy", _DEFAULT_POLICY)
    response.headers.add("X-Content-Type-Options", "nosniff")
    response.headers.add("Referrer-Policy", "no-referrer")
    return response


def _storage_origin(settings: Settings) -> str:
    """Return the origin of presigned URLs, as a CSP source."""
    url = settings.s3_public_endpoint_url or settings.s3_endpoint_url
    if url is None:
        return f"https://s3.{settings.s3_region}.amazonaws.com"
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"


def _reference_folder() -> Path:
    """Return the folder of Scalar's script in the installed package."""
    spec = find_spec(_REFERENCE_PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise Internal(f"{_REFERENCE_PACKAGE} is not installed")
    return Path(spec.submodule_search_locations[0]) / "templates" / "scalar" / "js"
