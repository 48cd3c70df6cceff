"""What each API key has used: counted in the scripts that take and end jobs, so never twice."""

from __future__ import annotations

from dataclasses import dataclass

import redis

from shared.jobs.record import pairs
from shared.redis.client import Scripts


@dataclass(frozen=True, slots=True)
class Used:
    """Since the key was made. ``queued`` is the whole tenant's, now."""

    created: int
    succeeded: int
    failed: int
    canceled: int
    faces: int
    input_bytes: int
    queued: int


class UsageBook:
    """Thread-safe."""

    def __init__(self, client: redis.Redis) -> None:
        self._scripts = Scripts(client)

    def of(self, tenant: str, key_id: str) -> Used:
        """Raises Unavailable."""
        flat, queued = self._scripts.run("usage", tenant, key_id)
        counted = {name: int(value) for name, value in pairs(flat).items()}
        return Used(
            created=counted.get("created", 0),
            succeeded=counted.get("succeeded", 0),
            failed=counted.get("failed", 0),
            canceled=counted.get("canceled", 0),
            faces=counted.get("faces", 0),
            input_bytes=counted.get("input_bytes", 0),
            queued=int(queued),
        )
