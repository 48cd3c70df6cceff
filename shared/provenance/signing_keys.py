"""Keys of provenance manifests: Ed25519 (RFC 8032), published as a JWK Set (RFC 7517, RFC 8037).

One private key signs. Public keys of earlier ones stay published, so that old manifests can be
checked after a rotation. The id of a key is its JWK thumbprint (RFC 7638).
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
from collections.abc import Iterable, Mapping
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from shared.errors import SettingsInvalid
from shared.settings import Settings

_KEY_BYTES = 32


class PublicKeys:
    """Public keys by id."""

    def __init__(self, keys: Iterable[bytes]) -> None:
        """``keys``: 32 bytes each."""
        self._keys = {key_id(key): key for key in keys}

    def __len__(self) -> int:
        return len(self._keys)

    @classmethod
    def of(cls, settings: Settings) -> PublicKeys:
        """Return the key that signs, and those of FACEMEND_PROVENANCE_PUBLIC_KEYS.

        Raises SettingsInvalid.
        """
        signing = SigningKey.of(settings)
        further = [
            _decode(text, "FACEMEND_PROVENANCE_PUBLIC_KEYS")
            for text in settings.provenance_public_keys
        ]
        return cls([*([signing.public] if signing else []), *further])

    @classmethod
    def from_jwks(cls, document: Any) -> PublicKeys:
        """Read a JWK Set; ignore keys of other kinds. Raises ValueError."""
        listed = document.get("keys") if isinstance(document, dict) else None
        if not isinstance(listed, list):
            raise ValueError("it is no JWK Set: it has no list “keys”")  # noqa: TRY004  # a file
        own = {"kty": "OKP", "crv": "Ed25519"}
        return cls(
            _bytes_of(str(key.get("x", "")))
            for key in listed
            if isinstance(key, dict) and own.items() <= key.items()
        )

    def as_jwks(self) -> dict[str, Any]:
        """Return the keys as a JWK Set."""
        return {"keys": [_jwk(key) for key in self._keys.values()]}

    def verify(self, kid: str, signature: bytes, data: bytes) -> bool:
        """Return whether the key of this id has signed ``data``. False for an unknown key."""
        key = self._keys.get(kid)
        if key is None:
            return False
        try:
            Ed25519PublicKey.from_public_bytes(key).verify(signature, data)
        except InvalidSignature:
            return False
        return True

    def __contains__(self, kid: str) -> bool:
        return kid in self._keys


class SigningKey:
    """The private key that signs manifests."""

    def __init__(self, seed: bytes) -> None:
        self._key = Ed25519PrivateKey.from_private_bytes(seed)
        self.public = self._key.public_key().public_bytes_raw()
        self.id = key_id(self.public)

    @classmethod
    def of(cls, settings: Settings) -> SigningKey | None:
        """Return the key of FACEMEND_PROVENANCE_KEY, or None. Raises SettingsInvalid."""
        text = settings.provenance_key and settings.provenance_key.get_secret_value()
        return cls(_decode(text, "FACEMEND_PROVENANCE_KEY")) if text else None

    def sign(self, data: bytes) -> bytes:
        return self._key.sign(data)


def new_signing_key() -> str:
    """Return a new private key as a setting has it: 32 bytes in base64url."""
    return _text_of(Ed25519PrivateKey.generate().private_bytes_raw())


def key_id(public: bytes) -> str:
    """Return the JWK thumbprint of a public key (RFC 7638): SHA-256 in base64url."""
    members = {"crv": "Ed25519", "kty": "OKP", "x": _text_of(public)}
    canonical = json.dumps(members, sort_keys=True, separators=(",", ":"))
    return _text_of(hashlib.sha256(canonical.encode()).digest())


def _jwk(public: bytes) -> Mapping[str, str]:
    return {
        "kty": "OKP",
        "crv": "Ed25519",
        "x": _text_of(public),
        "kid": key_id(public),
        "alg": "EdDSA",
        "use": "sig",
    }


def _decode(text: str, setting: str) -> bytes:
    try:
        return _bytes_of(text)
    except ValueError:
        # Never the text: it may be the private key.
        raise SettingsInvalid(f"{setting}: not {_KEY_BYTES} bytes in base64") from None


def _bytes_of(text: str) -> bytes:
    """Read 32 bytes in base64 or base64url, with or without padding. Raises ValueError."""
    plain = text.strip().rstrip("=").replace("+", "-").replace("/", "_")
    try:
        data = base64.b64decode(plain + "=" * (-len(plain) % 4), b"-_", validate=True)
    except binascii.Error:
        raise ValueError("not base64") from None
    if len(data) != _KEY_BYTES:
        raise ValueError(f"{len(data)} bytes; a key has {_KEY_BYTES}")
    return data


def _text_of(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")
