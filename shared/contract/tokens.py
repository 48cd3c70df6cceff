"""The request and the resource of POST /v1/tokens."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from pydantic import Field

from shared.contract.restorations import Request, Resource

Scope = Literal["restorations:read", "restorations:write", "admin"]


def _usual_scopes() -> list[Scope]:
    return ["restorations:read", "restorations:write"]


class TokenRequest(Request):
    """JSON body of POST /v1/tokens: what the token may do, and for how long."""

    scopes: Annotated[list[Scope], Field(min_length=1, max_length=3)] = Field(
        default_factory=_usual_scopes
    )
    jobs: Annotated[int, Field(ge=1, le=10_000)] = 100
    expires_in_s: Annotated[int, Field(ge=60, le=86_400)] = 3_600


class Token(Resource):
    """A short-lived API key. ``token`` is shown only once; send it as any other key."""

    id: str
    object: Literal["token"] = "token"
    token: str
    scopes: list[str]
    jobs: int
    expires_at: datetime
