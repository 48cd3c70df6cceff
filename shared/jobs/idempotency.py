"""Idempotency keys: the same request sent twice makes one job."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from hashlib import sha256

from shared.errors import IdempotencyInProgress, IdempotencyMismatch, QueueFull
from shared.redis.client import Scripts, redis_key

#: How long a request may take from its reservation to its job.
RESERVED_S = 60
FULL_S = 10  # after so long a full queue may have room


class Idempotency:
    """Reservations that ``create`` turns into a job's name, kept for 24 hours from then."""

    def __init__(self, scripts: Scripts) -> None:
        self._scripts = scripts

    def begin(
        self, key_id: str, key: str, fingerprint: str, room: Sequence[str | float] = ()
    ) -> str | None:
        """None: reserved, go on. An id: this request made that job before.

        ``room`` is what the script ``room`` asks for. Raises QueueFull if there is none, then
        nothing is reserved; IdempotencyInProgress, IdempotencyMismatch, Unavailable.
        """
        name = reservation_key(key_id, key)
        call = secrets.token_hex(8)
        answer = self._scripts.run("reserve", name, digest(fingerprint), RESERVED_S, call, *room)
        match answer:
            case ["reserved"]:
                return None
            case ["job", job_id]:
                return str(job_id)
            case ["mismatch"]:
                raise IdempotencyMismatch
            case ["full"]:
                raise QueueFull(retry_after_s=FULL_S)
            case _:
                raise IdempotencyInProgress

    def abandon(self, key_id: str, key: str) -> None:
        """Give a reservation back after a failed request. Raises Unavailable."""
        self._scripts.run("abandon", reservation_key(key_id, key))


def reservation_key(key_id: str, key: str) -> str:
    """Belongs to one API key; what the customer chose is hashed, so names stay short."""
    return redis_key("idempotency", key_id, digest(key))


def digest(value: str) -> str:
    """Shorten to 32 hex digits."""
    return sha256(value.encode("utf-8", "surrogatepass")).hexdigest()[:32]
