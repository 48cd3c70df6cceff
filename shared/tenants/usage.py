"""The usage of each API key, counted in the scripts that create and end jobs, so never twice."""

from __future__ import annotations

from dataclasses import dataclass

from shared.jobs.record import pairs
from shared.redis.scripts import Scripts


@dataclass(frozen=True, slots=True)
class Used:
    """Usage since the key was created. ``queued`` counts the jobs of the whole tenant, now."""

    created: int
    succeeded: int
    failed: int
    canceled: int
    faces: int
    input_bytes: int
    queued: int


class UsageBook:
    """Reads the usage. Thread-safe."""

    def __init__(self, scripts: Scripts) -> None:
        self._scripts = scripts

    def of(self, tenant: str, key_id: str) -> Used:
        """Return the usage of one key. Raises Unavailable."""
        flat, queued = self._scripts.run("usage", tenant=tenant, key_id=key_id)
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
