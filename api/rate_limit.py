"""The rate limit of API keys: refuses a request above it, and sends the RateLimit headers."""

from __future__ import annotations

from flask import Flask, Response, g

from api.context import current_services
from shared.tenants.rate_limit import Allowance, refusal


def install(app: Flask) -> None:
    """Add the RateLimit headers to the response to each request that was counted."""
    app.after_request(_add_headers)


def check(allowance: Allowance | None) -> None:
    """Keep ``allowance`` for the response headers. Raises RateLimited if the request is refused."""
    if allowance is None:
        return
    g.allowance = allowance
    if allowance.retry_after_s is not None:
        raise refusal(allowance)


def _add_headers(response: Response) -> Response:
    if "allowance" in g:
        response.headers.add("RateLimit-Policy", current_services().rates.policy)
        response.headers.add("RateLimit", g.allowance.header)
    return response
