"""A tenant's jobs, newest first, page by page."""

from __future__ import annotations

import base64
import binascii
from typing import Any, cast

import redis

from shared.database import redis_errors, redis_key, tenant_key
from shared.errors import InvalidRequest
from shared.jobs import Job, Status
from shared.records import to_job

#: Records that one page looks at, at most: a rare status must not hold up Redis.
SCANNED = 1000
_CHUNK = 100

Place = tuple[float, str]  # creation time and id of a job: where a page ended


class Listing:
    def __init__(self, client: redis.Redis) -> None:
        self._redis = client

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
        found: list[Job] = []
        last = _decode(cursor) if cursor is not None else None
        for _ in range(SCANNED // _CHUNK):
            places = self._after(tenant, last)
            for place, job in zip(places, self._jobs(places), strict=True):
                last = place
                if job and status in {None, job.status} and model in {None, job.model}:
                    found.append(job)
                if len(found) == limit:
                    return found, _encode(place) if self._after(tenant, place) else None
            if not places:
                return found, None
        return found, _encode(last) if last else None

    def _after(self, tenant: str, last: Place | None) -> list[Place]:
        """The next places; ids break ties between jobs of the same microsecond."""
        until = "+inf" if last is None else repr(last[0])
        with redis_errors():
            answer: Any = self._redis.zrevrangebyscore(
                tenant_key(tenant, "jobs"), until, "-inf", start=0, num=_CHUNK, withscores=True
            )
        places = [(score, job_id) for job_id, score in cast("list[tuple[str, float]]", answer)]
        return [place for place in places if last is None or place < last]

    def _jobs(self, places: list[Place]) -> list[Job | None]:
        with redis_errors(), self._redis.pipeline(transaction=False) as pipe:
            for _, job_id in places:
                pipe.hgetall(redis_key("job", job_id))
            records = pipe.execute()
        return [
            to_job(job_id, record) if record else None  # erased meanwhile
            for (_, job_id), record in zip(places, records, strict=True)
        ]


def _encode(place: Place) -> str:
    return base64.urlsafe_b64encode(f"{place[0]!r} {place[1]}".encode()).decode().rstrip("=")


def _decode(cursor: str) -> Place:
    try:
        text = base64.b64decode(cursor + "=" * (-len(cursor) % 4), b"-_", validate=True).decode()
        score, _, job_id = text.partition(" ")
        place = float(score), job_id
    except (ValueError, binascii.Error):
        raise InvalidRequest("The cursor is none of ours", [("/cursor", "unknown")]) from None
    if not (job_id and 0 <= place[0] < float("inf")):
        raise InvalidRequest("The cursor is none of ours", [("/cursor", "unknown")])
    return place
