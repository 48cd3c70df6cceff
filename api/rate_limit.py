"""How often a key may ask: refuses the request that is one too many, tells what is left."""

from __future__ import annotations

from flask import Flask, Response, g

from api.context import services
from shared.tenants.rate_limit import Allowance, refusal


def install(app: Flask) -> None:
    """Put what is left on every answer of ``app`` to a request that was counted."""
    app.after_request(_tell)


def check(allowance: Allowance | None) -> None:
    """Note what is left after this request. Raises RateLimited."""
    if allowance is None:
        return
    g.allowance = allowance
    if allowance.retry_after_s is not None:
        raise refusal(allowance)


def _tell(response: Response) -> Response:
    if "allowance" in g:
        response.headers.add("RateLimit-Policy", services().rates.policy)
        response.headers.add("RateLimit", g.allowance.header)
    return response
