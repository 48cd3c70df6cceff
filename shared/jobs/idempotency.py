"""Idempotency keys: the same request sent twice makes one job."""

from __future__ import annotations

import secrets
from dataclasses import dataclass

from shared.digest import digest
from shared.errors import IdempotencyInProgress, IdempotencyMismatch, QueueFull
from shared.jobs.pools import stored_pool
from shared.jobs.queues import QueueName
from shared.redis.keys import redis_key
from shared.redis.scripts import Scripts
from shared.settings import Settings

#: How long a request may take from its reservation to its job.
RESERVED_S = 60
FULL_S = 10  # a full queue may have room after this time


@dataclass(frozen=True, slots=True)
class FirstRequest:
    """What is remembered of a request: its job, and the wait (s) that it asked for, or None."""

    job_id: str
    wait_s: int | None = None


class Idempotency:
    """``JobStore.idempotency``: reservations, which ``create`` binds to a job for 24 hours."""

    def __init__(self, scripts: Scripts, settings: Settings) -> None:
        self._scripts, self._settings = scripts, settings

    def begin(
        self,
        key_id: str,
        key: str,
        fingerprint: str,
        room_for: tuple[str, QueueName] | None = None,
        wait_s: int | None = None,
    ) -> FirstRequest | None:
        """Reserve ``key`` for 60 seconds and return None, or return the request that had it first.

        ``wait_s``: for how long this request waits for the end of its job, so that a repetition
        can wait, too.

        With ``room_for`` (tenant and queue of the job) it also raises QueueFull if
        ``create`` would; then nothing is reserved. Raises IdempotencyInProgress,
        IdempotencyMismatch, Unavailable.
        """
        tenant, queue = room_for or (None, None)
        answer = self._scripts.run(
            "reserve_idempotency_key",
            reservation=reservation_key(key_id, key),
            fingerprint=digest(fingerprint),
            wait_s=wait_s,
            hold_s=RESERVED_S,
            call=secrets.token_hex(8),
            tenant=tenant,
            model=queue.model if queue else None,
            priority=queue.priority if queue else None,
            pool=stored_pool(queue.pool) if queue else None,
            max_queued=self._settings.max_queued_per_tenant,
            max_age_s=self._settings.max_queue_age_s,
        )
        match answer:
            case ["reserved"]:
                return None
            case ["job", job_id, waited_s]:
                return FirstRequest(job_id, int(waited_s) if waited_s else None)
            case ["mismatch"]:
                raise IdempotencyMismatch
            case ["full"]:
                raise QueueFull(retry_after_s=FULL_S)
            case _:
                raise IdempotencyInProgress

    def abandon(self, key_id: str, key: str) -> None:
        """Give a reservation back after a failed request. Raises Unavailable."""
        self._scripts.run("abandon_reservation", reservation=reservation_key(key_id, key))


def reservation_key(key_id: str, key: str) -> str:
    """Return the name of the reservation: one API key's, with the client's text hashed."""
    return redis_key("idempotency", key_id, digest(key))
