"""Webhook deliveries: written by the same script as a job's terminal state, taken from here.

A delivery is ``pending`` until it is ``delivered`` or, given up, ``dead``. One that has ended may
be sent again, as the same event. An endpoint (a tenant's URL) is disabled when it says that it is
gone, or when it did nothing but fail for long: what is meant for it is dead at once, until a
redelivery or a test finds it well.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from shared.errors import NotFound
from shared.jobs.cursor import decode, encode
from shared.jobs.job import new_id
from shared.jobs.record import Delivery, pairs, to_job, to_json
from shared.redis.client import Scripts

TEST_EVENT = "webhook.test"
#: An endpoint is disabled after so long with nothing but failures …
FAILING_S = 120 * 3600
#: … where a longer pause than any wait of the schedule starts the count anew.
FORGET_FAILURES_S = 48 * 3600
DISABLED_S = 30 * 86_400
_KEPT_TRIES = 50  # of each delivery's log


class Went(StrEnum):
    """How a try went. ``unsent``: the endpoint was not asked, so it says nothing of it."""

    DELIVERED = "delivered"
    FAILED = "failed"
    GONE = "gone"
    UNSENT = "unsent"


@dataclass(frozen=True, slots=True)
class Noted:
    """What a try led to. ``endpoint``: enabled, or why it was disabled, if this try did that."""

    state: str
    endpoint: str | None


class Outbox:
    """Any number of senders may take from it; what a dead one took comes again.

    Every method raises Unavailable.
    """

    def __init__(self, scripts: Scripts) -> None:
        self._scripts = scripts

    def take(self, limit: int, lease_s: float, full: Iterable[str] = ()) -> list[Delivery]:
        """Deliveries that are due, for the caller alone during ``lease_s``.

        Receivers have their turn, but for the lanes that are ``full``.
        """
        token = secrets.token_hex(8)
        taken = self._scripts.run("take_deliveries", limit, lease_s, token, *full)
        return [_delivery(*entry) for entry in taken]

    def note(
        self, delivery: Delivery, went: Went, record: dict[str, Any], delay_s: float | None = None
    ) -> Noted | None:
        """Log one try, ``{at, status_code, latency_ms, error}``.

        After ``delay_s`` another one follows; without it the delivery is dead. None, and nothing
        written, if the lease was over and another sender has it now.
        """
        entry = to_json({"attempt": delivery.attempt, **record})
        args = (delivery.id, delivery.token, went, "" if delay_s is None else delay_s, entry)
        terms = (_KEPT_TRIES, FAILING_S, FORGET_FAILURES_S, DISABLED_S)
        answer = self._scripts.run("note_delivery", *args, *terms)
        return Noted(*answer) if answer else None

    def of_job(self, tenant: str, job_id: str) -> list[dict[str, Any]]:
        """Each delivery as ``find`` shows it, oldest first. Raises NotFound."""
        found = self._scripts.run("deliveries", job_id, tenant)
        if found is None:
            raise NotFound
        return [_view(*entry) for entry in found]

    def find(self, tenant: str, delivery_id: str) -> dict[str, Any]:
        """State, next try, log, and what is wrong with its endpoint. Raises NotFound."""
        return _found(self._scripts.run("find_delivery", delivery_id, tenant))

    def redeliver(self, tenant: str, delivery_id: str) -> dict[str, Any]:
        """Send it now, the same event with all its tries, also to a disabled endpoint.

        Raises NotFound.
        """
        return _found(self._scripts.run("redeliver", delivery_id, tenant))

    def send_test(self, tenant: str, url: str) -> dict[str, Any]:
        """Send a webhook that tells of nothing, also to a disabled endpoint."""
        ids = (new_id("dlv"), new_id("evt"))
        return _found(self._scripts.run("send_test", *ids, TEST_EVENT, tenant, url))

    def dead_letters(
        self, tenant: str, limit: int, cursor: str | None = None
    ) -> tuple[list[dict[str, Any]], str | None]:
        """Deliveries that were given up, the last one first, and the next cursor, None at the end.

        Raises InvalidRequest for a cursor that is none of ours.
        """
        at, last = decode(cursor) if cursor is not None else ("+inf", "")
        found, *place = self._scripts.run("dead_letters", tenant, at, last, limit)
        return [_view(*entry) for entry in found], encode(*place) if place else None


def _delivery(
    delivery_id: str, flat: list[str], lane: str, frozen: str | None, disabled: str | None
) -> Delivery:
    record = pairs(flat)
    job_id = record.get("job_id", "")
    return Delivery(
        id=delivery_id,
        event_id=record["event_id"],
        job_id=job_id,
        tenant=record["tenant"],
        url=record["url"],
        event=record["event"],
        attempt=int(record["tries"]) + 1,
        created_at=float(record["created_at"]),
        token=record["token"],
        lane=lane,
        job=to_job(job_id, json.loads(frozen)) if frozen else None,
        disabled=disabled,
    )


def _found(letter: Any) -> dict[str, Any]:
    if not letter:
        raise NotFound
    return _view(*letter)


def _view(
    delivery_id: str,
    flat: list[str],
    log: list[str],
    next_try: str | None,
    disabled: tuple[str | None, str | None],
) -> dict[str, Any]:
    record = pairs(flat)
    at, because = disabled
    return {
        "id": delivery_id,
        "event_id": record["event_id"],
        "event": record["event"],
        "job_id": record.get("job_id"),
        "url": record["url"],
        "state": record["state"],
        "tries": int(record["tries"]),
        "created_at": float(record["created_at"]),
        "next_try_at": float(next_try) if next_try else None,
        "disabled": {"at": float(at), "reason": because} if at else None,
        "attempts": [json.loads(entry) for entry in log],
    }
