"""/.well-known/facemend-keys.json: the public keys of the provenance manifests."""

from __future__ import annotations

import json

from flask import Response
from flask_openapi3.blueprint import APIBlueprint
from flask_openapi3.models.tag import Tag

from api.context import current_services
from api.openapi import returns
from shared.contract.provenance import KeySet
from shared.provenance.signing_keys import PublicKeys

blueprint = APIBlueprint(
    "provenance",
    __name__,
    abp_tags=[Tag(name="provenance", description="Keys that check the manifests of results.")],
)


@blueprint.get(
    "/.well-known/facemend-keys.json",
    operation_id="provenance_keys",
    summary="Public keys of provenance manifests",
    responses=returns(KeySet, 200),
)
def keys() -> Response:
    """The public keys of the manifests of results, as a JWK Set. Without a key, it is empty."""
    document = PublicKeys.of(current_services().settings).as_jwks()
    response = Response(json.dumps(document), content_type="application/json")
    response.headers["Cache-Control"] = "public, max-age=300"
    return response
