"""Who may do what: API keys, and the one table of scopes that every route must be in."""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

from flask import Flask, g, request
from werkzeug.routing import Rule

from api import rate_limit as limits
from api.context import services
from shared.errors import Forbidden, Unauthorized
from shared.tenants.api_keys import ApiKey

READ, WRITE, ADMIN = "restorations:read", "restorations:write", "admin"
PUBLIC = None

#: Scope needed for each route. ``create_app`` refuses to start with a route that is not here.
SCOPES: Mapping[str, str | None] = {
    "POST /v1/restorations": WRITE,
    "GET /v1/restorations": READ,
    "GET /v1/restorations/<job_id>": READ,
    "POST /v1/restorations/<job_id>/cancel": WRITE,
    "POST /v1/restorations/<job_id>/retry": WRITE,
    "DELETE /v1/restorations/<job_id>": WRITE,
    "GET /v1/restorations/<job_id>/events": READ,
    "GET /v1/restorations/<job_id>/deliveries": READ,
    "GET /v1/deliveries": READ,
    "GET /v1/deliveries/<delivery_id>": READ,
    "POST /v1/deliveries/<delivery_id>/redeliver": WRITE,
    "POST /v1/webhooks/test": WRITE,
    "POST /v1/webhooks/secret": ADMIN,
    "GET /v1/models": READ,
    "GET /v1/usage": READ,
    "GET /healthz": PUBLIC,
    "GET /readyz": PUBLIC,
    "GET /metrics": PUBLIC,
    "GET /openapi.json": PUBLIC,
    "GET /docs": PUBLIC,
    "GET /docs/assets/<path:filename>": PUBLIC,
    "GET /": PUBLIC,
    "GET /static/<path:filename>": PUBLIC,
}


def install(app: Flask) -> None:
    """Check the key of each request to ``app`` before its view runs."""
    app.before_request(_admit)


def routes(app: Flask) -> set[str]:
    """Every route of ``app`` as the table names it: ``GET /path/<variable>``."""
    return {
        f"{method} {rule.rule}"
        for rule in app.url_map.iter_rules()
        for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}
    }


def check_table(app: Flask) -> None:
    """Raises LookupError when the table and the routes of ``app`` differ."""
    if difference := routes(app) ^ SCOPES.keys():
        raise LookupError(f"routes and scope table differ: {', '.join(sorted(difference))}")


def caller() -> ApiKey:
    """The API key of the current request."""
    return cast(ApiKey, g.api_key)


def _admit() -> None:
    rule = request.url_rule
    if rule is None or request.method == "OPTIONS":
        return  # no view will run
    scope = SCOPES[_name(rule, request.method)]
    if scope is PUBLIC:
        return
    token = _bearer_token(request.headers.get("Authorization", ""))
    key, allowance = services().keys.admit(token, services().rates.quota)
    g.api_key = key
    limits.check(allowance)
    if scope not in key.scopes:
        raise Forbidden(f"This needs the scope {scope}; the key has {_list(key.scopes)}.")


def _name(rule: Rule, method: str) -> str:
    return f"{'GET' if method == 'HEAD' else method} {rule.rule}"


def _bearer_token(header: str) -> str:
    scheme, _, token = header.partition(" ")
    if scheme.lower() != "bearer" or not token.strip():
        raise Unauthorized("Send the header “Authorization: Bearer fm_live_…”.")
    return token.strip()


def _list(scopes: frozenset[str]) -> str:
    return ", ".join(sorted(scopes)) or "none"
