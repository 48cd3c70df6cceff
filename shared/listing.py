"""A tenant's jobs, newest first, page by page."""

from __future__ import annotations

import base64
import binascii
import re

from shared.database import Scripts
from shared.errors import InvalidRequest
from shared.jobs import Job, Status
from shared.records import to_job

#: Records that one page looks at, at most: a rare status must not hold up Redis.
SCANNED = 500

_PLACE = re.compile(r"(\d{1,12}(?:\.\d{1,9})?) ([a-z0-9_]{1,64})", re.ASCII)


class Listing:
    def __init__(self, scripts: Scripts) -> None:
        self._scripts = scripts

    def page(
        self,
        tenant: str,
        *,
        status: Status | None,
        model: str | None,
        limit: int,
        cursor: str | None,
    ) -> tuple[list[Job], str | None]:
        """Jobs after ``cursor`` and the next cursor, None at the end.

        A page may be shorter than ``limit`` before the end (see ``SCANNED``). Raises
        InvalidRequest for a cursor that is none of ours, Unavailable.
        """
        at, job_id = _decode(cursor) if cursor is not None else ("+inf", "")
        found, *place = self._scripts.run(
            "page", tenant, at, job_id, status or "", model or "", limit, SCANNED
        )
        jobs = [to_job(job_id, view) for job_id, view in found]
        return jobs, _encode(*place) if place else None


def _encode(at: str, job_id: str) -> str:
    return base64.urlsafe_b64encode(f"{at} {job_id}".encode()).decode().rstrip("=")


def _decode(cursor: str) -> tuple[str, str]:
    try:
        text = base64.b64decode(cursor + "=" * (-len(cursor) % 4), b"-_", validate=True).decode()
    except (ValueError, binascii.Error):
        text = ""
    place = _PLACE.fullmatch(text)
    if place is None:
        raise InvalidRequest("The cursor is none of ours", [("/cursor", "unknown cursor")])
    return place[1], place[2]
