"""A tenant's jobs, newest first, page by page."""

from __future__ import annotations

from shared.jobs.cursor import decode, encode
from shared.jobs.job import Job, Status
from shared.jobs.record import to_job
from shared.redis.client import Scripts

#: Records that one page looks at, at most: a rare status must not hold up Redis.
SCANNED = 500


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
        at, job_id = decode(cursor) if cursor is not None else ("+inf", "")
        found, *place = self._scripts.run(
            "page", tenant, at, job_id, status or "", model or "", limit, SCANNED
        )
        jobs = [to_job(job_id, view) for job_id, view in found]
        return jobs, encode(*place) if place else None
