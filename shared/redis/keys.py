"""Names of the keys in Redis."""

from __future__ import annotations


def redis_key(*parts: str) -> str:
    """Return the name of a key: ``fm:`` and the parts, as in ``lua/includes/common.lua``."""
    return "fm:" + ":".join(parts)


def tenant_key(tenant: str, *parts: str) -> str:
    """Return the name of a key that belongs to one tenant."""
    return redis_key("tenant", tenant, *parts)
