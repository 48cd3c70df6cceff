"""Where a page of a list ended: a moment and an id, as text that means nothing to customers."""

from __future__ import annotations

import base64
import binascii
import re

from shared.errors import InvalidRequest

_PLACE = re.compile(r"(\d{1,12}(?:\.\d{1,9})?) ([a-z0-9_]{1,64})", re.ASCII)


def encode(at: str, last_id: str) -> str:
    """Make the cursor behind the entry of this moment and id."""
    return base64.urlsafe_b64encode(f"{at} {last_id}".encode()).decode().rstrip("=")


def decode(cursor: str) -> tuple[str, str]:
    """Return the moment and the id. Raises InvalidRequest for a cursor that is none of ours."""
    try:
        text = base64.b64decode(cursor + "=" * (-len(cursor) % 4), b"-_", validate=True).decode()
    except (ValueError, binascii.Error):
        text = ""
    place = _PLACE.fullmatch(text)
    if place is None:
        raise InvalidRequest("The cursor is none of ours", [("/cursor", "unknown cursor")])
    return place[1], place[2]
