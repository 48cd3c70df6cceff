"""The resource of /.well-known/facemend-keys.json."""

from __future__ import annotations

from typing import Literal

from shared.contract.restorations import Resource


class PublicKey(Resource):
    """An Ed25519 key (RFC 8037). ``kid`` is its thumbprint; manifests name it as ``keyid``."""

    kty: Literal["OKP"]
    crv: Literal["Ed25519"]
    x: str
    kid: str
    alg: Literal["EdDSA"]
    use: Literal["sig"]


class KeySet(Resource):
    """A JWK Set (RFC 7517)."""

    keys: list[PublicKey]
