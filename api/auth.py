"""API keys and scopes: which key may use which route."""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

from flask import Flask, g, request
from werkzeug.routing import Rule

from api import rate_limit as limits
from api.context import current_services
from api.request_log import set_log_key
from shared.errors import Forbidden, Unauthorized
from shared.tenants.api_keys import ApiKey
from shared.tenants.moves import check_may_serve
from shared.tenants.rate_limit import Allowance

READ, WRITE, ADMIN = "restorations:read", "restorations:write", "admin"
PUBLIC = None
#: In the WSGI environment: the key and its allowance, from the first look at the request on.
ADMITTED = "facemend.admitted"
#: Likewise: the error that ended the first look. Its cause may be over at the second one, when
#: nobody has read the body.
REFUSED = "facemend.refused"

#: The scope that each route needs. ``create_app`` fails if a route is missing here.
SCOPES: Mapping[str, str | None] = {
    "POST /v1/restorations": WRITE,
    "GET /v1/restorations": READ,
    "GET /v1/restorations/<job_id>": READ,
    "POST /v1/restorations/<job_id>/cancel": WRITE,
    "POST /v1/restorations/<job_id>/retry": WRITE,
    "DELETE /v1/restorations/<job_id>": WRITE,
    "GET /v1/restorations/<job_id>/events": READ,
    "GET /v1/restorations/<job_id>/deliveries": READ,
    "POST /v1/batches": WRITE,
    "GET /v1/batches/<batch_id>": READ,
    "GET /v1/batches/<batch_id>/items": READ,
    "POST /v1/batches/<batch_id>/cancel": WRITE,
    "DELETE /v1/batches/<batch_id>": WRITE,
    "POST /v1/uploads": WRITE,
    "POST /v1/tokens": WRITE,
    "POST /v1/detections": WRITE,
    "GET /v1/detections/<detection_id>": READ,
    "DELETE /v1/detections/<detection_id>": WRITE,
    "GET /v1/deliveries": READ,
    "GET /v1/deliveries/<delivery_id>": READ,
    "POST /v1/deliveries/<delivery_id>/redeliver": WRITE,
    "POST /v1/webhooks/test": WRITE,
    "POST /v1/webhooks/secret": ADMIN,
    "GET /v1/models": READ,
    "GET /v1/usage": READ,
    "GET /v1/queues": ADMIN,
    "POST /v1/queues/<name>/pause": ADMIN,
    "POST /v1/queues/<name>/resume": ADMIN,
    "GET /v1/workers": ADMIN,
    "GET /.well-known/facemend-keys.json": PUBLIC,
    "GET /healthz": PUBLIC,
    "GET /readyz": PUBLIC,
    "GET /metrics": PUBLIC,
    "GET /openapi.json": PUBLIC,
    "GET /docs": PUBLIC,
    "GET /docs/assets/<path:filename>": PUBLIC,
    "GET /": PUBLIC,
    "GET /admin": PUBLIC,
    "GET /static/<path:filename>": PUBLIC,
}


def install(app: Flask) -> None:
    """Check the API key of each request to ``app`` before its view runs."""
    app.before_request(_admit)


def routes(app: Flask) -> set[str]:
    """Return every route of ``app`` as in the table: ``GET /path/<variable>``."""
    return {
        f"{method} {rule.rule}"
        for rule in app.url_map.iter_rules()
        for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}
    }


def check_table(app: Flask) -> None:
    """Raises LookupError if the table and the routes of ``app`` differ."""
    if difference := routes(app) ^ SCOPES.keys():
        raise LookupError(f"routes and scope table differ: {', '.join(sorted(difference))}")


def caller() -> ApiKey:
    """Return the API key of the current request."""
    return cast(ApiKey, g.api_key)


def admit() -> ApiKey | None:
    """Check and count the key of the current request, once; None if the route needs no key.

    Raises Unauthorized, Forbidden, RateLimited, Unavailable.
    """
    rule = request.url_rule
    if rule is None or request.method == "OPTIONS":
        return None  # no view will run
    scope = SCOPES[_name(rule, request.method)]
    if scope is PUBLIC:
        return None
    if refused := request.environ.get(REFUSED):
        raise refused
    key, allowance = request.environ.get(ADMITTED) or _read_key()
    g.api_key = key
    limits.check(allowance)
    if scope not in key.scopes:
        raise Forbidden(f"This route needs the scope {scope}. The key has {_list(key.scopes)}.")
    check_may_serve(key.moving, reads=request.method in {"GET", "HEAD"})
    return key


def _read_key() -> tuple[ApiKey, Allowance | None]:
    token = _bearer_token(request.headers.get("Authorization", ""))
    found = request.environ[ADMITTED] = current_services().keys.admit(
        token, current_services().rates.quota
    )
    return found


def _admit() -> None:
    key = admit()
    if key is not None:
        set_log_key(key)


def _name(rule: Rule, method: str) -> str:
    return f"{'GET' if method == 'HEAD' else method} {rule.rule}"


def _bearer_token(header: str) -> str:
    scheme, _, token = header.partition(" ")
    if scheme.lower() != "bearer" or not token.strip():
        raise Unauthorized("Send the header “Authorization: Bearer fm_live_…”.")
    return token.strip()


def _list(scopes: frozenset[str]) -> str:
    return ", ".join(sorted(scopes)) or "none"
