"""Webhook deliveries: written by the same script as a job's terminal state, taken from here."""

from __future__ import annotations

import json
import secrets
from typing import Any

from shared.database import Scripts
from shared.errors import NotFound
from shared.records import Delivery, pairs, to_json

_KEPT_TRIES = 50  # of each delivery's log


class Outbox:
    """Any number of senders may take from it; what a dead one took comes again."""

    def __init__(self, scripts: Scripts) -> None:
        self._scripts = scripts

    def take(self, limit: int, lease_s: float) -> list[Delivery]:
        """Deliveries that are due, for the caller alone during ``lease_s``."""
        token = secrets.token_hex(8)
        taken = self._scripts.run("take_deliveries", limit, lease_s, token)
        return [_delivery(delivery_id, pairs(flat)) for delivery_id, flat in taken]

    def note(
        self, delivery: Delivery, state: str, record: dict[str, Any], delay_s: float = 0
    ) -> bool:
        """Log one try; ``state`` is delivered, dead, or pending to try again after ``delay_s``.

        False, and nothing written, if the lease was over and another sender has it now.
        """
        entry = to_json({"attempt": delivery.attempt, **record})
        args = (delivery.id, delivery.token, state, delay_s, entry, _KEPT_TRIES)
        return bool(self._scripts.run("log_delivery", *args))

    def of_job(self, tenant: str, job_id: str) -> list[dict[str, Any]]:
        """Each delivery with state, next try and log. Raises NotFound, Unavailable."""
        found = self._scripts.run("deliveries", job_id, tenant)
        if found is None:
            raise NotFound
        return [_view(*entry) for entry in found]


def _delivery(delivery_id: str, record: dict[str, str]) -> Delivery:
    return Delivery(
        id=delivery_id,
        event_id=record["event_id"],
        job_id=record["job_id"],
        tenant=record["tenant"],
        url=record["url"],
        event=record["event"],
        attempt=int(record["tries"]) + 1,
        created_at=float(record["created_at"]),
        token=record["token"],
    )


def _view(
    delivery_id: str, flat: list[str], log: list[str], next_try: str | None
) -> dict[str, Any]:
    record = pairs(flat)
    return {
        "id": delivery_id,
        "event_id": record["event_id"],
        "event": record["event"],
        "url": record["url"],
        "state": record["state"],
        "created_at": float(record["created_at"]),
        "next_try_at": float(next_try) if next_try else None,
        "attempts": [json.loads(entry) for entry in log],
    }
