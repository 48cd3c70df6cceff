"""The map of a router: which cell has the tenant of an API key.

An id of a key ends with random digits, and the tokens that a key makes end with the same digits. So
a router needs no more than these digits of the key that a request sends.
"""

from __future__ import annotations

from collections.abc import Mapping

from shared.errors import Conflict
from shared.redis.client import connect
from shared.redis.scripts import Scripts
from shared.settings import Settings
from shared.tenants.api_keys import ROUTED_DIGITS, KeyRing
from shared.tenants.moves import Moves, MoveState


def router_map(cells: Mapping[str, Settings]) -> list[str]:
    """Return lines ``<last digits of the key's id> <name of the cell>``, sorted.

    A tenant that is on its way belongs to the source, and after the switch to the target. Raises
    Conflict if two cells have the same key; Unavailable.
    """
    found: dict[str, str] = {}
    for name, settings in cells.items():
        scripts = Scripts(connect(settings))
        elsewhere = {
            tenant
            for tenant, state in Moves(scripts).all().items()
            if state is not MoveState.LEAVING
        }
        for key in KeyRing(scripts, settings.api_key_pepper).list():
            if key.revoked or key.tenant in elsewhere:
                continue
            digits = key.id[-ROUTED_DIGITS:]
            if found.setdefault(digits, name) != name:
                raise Conflict(f"The cells {found[digits]} and {name} both have {key.id}")
    return [f"{digits} {name}" for digits, name in sorted(found.items())]
