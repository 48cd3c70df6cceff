"""/v1/tokens: short-lived API keys, so that a web page contains no long-lived one."""

from __future__ import annotations

from datetime import UTC, datetime

from flask import Response, request
from flask_openapi3.blueprint import APIBlueprint
from flask_openapi3.models.tag import Tag

from api.auth import caller
from api.context import current_services
from api.jobs.submission import read_document
from api.openapi import TOKEN_BODY, problems, returns
from shared import errors
from shared.contract.tokens import Token, TokenRequest

blueprint = APIBlueprint(
    "tokens",
    __name__,
    url_prefix="/v1",
    abp_tags=[Tag(name="tokens", description="Short-lived API keys.")],
)


@blueprint.post(
    "/tokens",
    operation_id="create_token",
    summary="Create a short-lived key",
    responses={
        **returns(Token, 201),
        **problems(
            errors.MalformedRequest,
            errors.PayloadTooLarge,
            errors.UnsupportedMediaType,
            errors.InvalidRequest,
        ),
    },
    openapi_extensions={"requestBody": TOKEN_BODY},
)
def create() -> Response:
    """Create a short-lived key of the same tenant, for a web page.

    It has some scopes of the key that creates it, creates a limited number of jobs, and ends with
    that key. It reads all jobs of the tenant if it has `restorations:read`.
    """
    wanted = read_document(request, TokenRequest)
    key, secret = current_services().keys.create_token(
        caller(), wanted.scopes, jobs=wanted.jobs, expires_in_s=wanted.expires_in_s
    )
    token = Token(
        id=key.id,
        token=secret,
        scopes=sorted(key.scopes),
        jobs=wanted.jobs,
        expires_at=datetime.fromtimestamp(key.expires_at or key.created_at, UTC),
    )
    response = Response(token.model_dump_json(), 201, content_type="application/json")
    response.headers["Cache-Control"] = "private, no-store"
    return response
