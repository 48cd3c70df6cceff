"""Shortens any text to a digest of fixed length, for names and keys."""

from __future__ import annotations

from hashlib import sha256


def digest(value: str) -> str:
    """Return the first 32 hex digits of the SHA-256 of the text in UTF-8."""
    return sha256(value.encode("utf-8", "surrogatepass")).hexdigest()[:32]
