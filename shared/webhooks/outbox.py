"""Webhook deliveries. The script that ends a job also writes its delivery; senders take it here.

A delivery is ``pending`` until it is ``delivered`` or, given up, ``dead``. One that has ended can
be sent again as the same event. An endpoint (a tenant's URL) is disabled if it responds that it is
gone (410), or if it only failed for a long time. Deliveries for a disabled endpoint are dead at
once, until a redelivery or a test succeeds.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from shared.batches.batch import Batch, to_batch
from shared.errors import NotFound
from shared.jobs.cursor import decode, encode
from shared.jobs.job import Job, new_id
from shared.jobs.record import pairs, to_job, to_json
from shared.redis.scripts import Scripts

TEST_EVENT = "webhook.test"
#: An endpoint that only failed for so long is disabled.
FAILING_S = 120 * 3600
#: Failures are forgotten after a pause of so long, which is longer than any wait of the schedule.
FORGET_FAILURES_S = 48 * 3600
#: A disabled endpoint is remembered for so long.
DISABLED_S = 30 * 86_400
_MAX_LOG_ENTRIES = 50  # of each delivery


class AttemptResult(StrEnum):
    """The result of an attempt. ``unsent``: no request was made; the endpoint is not to blame."""

    DELIVERED = "delivered"
    FAILED = "failed"
    GONE = "gone"
    UNSENT = "unsent"


@dataclass(frozen=True, slots=True)
class DeliveryOutcome:
    """What an attempt led to. ``endpoint``: enabled, or why it was disabled, if that changed."""

    state: str
    endpoint: str | None


@dataclass(frozen=True, slots=True)
class Delivery:
    """One webhook to be sent now; ``attempt`` counts from 1.

    Deliveries to one receiver (a tenant's scheme, host and port) have the same ``lane``. ``job_id``
    is empty for an event without a job. ``job`` is the job to show if its record has changed since
    or is gone. ``batch`` is the batch to show, for an event of a batch. ``disabled``: why nothing
    is sent to its endpoint, or None.
    """

    id: str
    event_id: str
    job_id: str
    tenant: str
    url: str
    event: str
    attempt: int
    created_at: float
    token: str
    lane: str
    job: Job | None = None
    batch: Batch | None = None
    disabled: str | None = None


class Outbox:
    """Thread-safe. Deliveries that a dead sender had taken can be taken again.

    Every method raises Unavailable if Redis cannot serve.
    """

    def __init__(self, scripts: Scripts) -> None:
        self._scripts = scripts

    def take(self, limit: int, lease_s: float, full: Iterable[str] = ()) -> list[Delivery]:
        """Return deliveries that are due. For ``lease_s`` no other caller gets them.

        Receivers take turns; the lanes in ``full`` are left out.
        """
        token = secrets.token_hex(8)
        taken = self._scripts.run(
            "take_deliveries", limit=limit, lease_s=lease_s, token=token, full_lanes=[*full]
        )
        return [_delivery(*entry) for entry in taken]

    def record_attempt(
        self,
        delivery: Delivery,
        result: AttemptResult,
        record: dict[str, Any],
        delay_s: float | None = None,
    ) -> DeliveryOutcome | None:
        """Log one attempt, ``{at, status_code, latency_ms, error}``, and what follows it.

        The next attempt follows after ``delay_s``; without it a failure makes the delivery dead.
        Returns None, and writes nothing, if the lease is over and another sender has the delivery.
        """
        entry = to_json({"attempt": delivery.attempt, **record})
        answer = self._scripts.run(
            "record_attempt",
            id=delivery.id,
            token=delivery.token,
            result=result,
            delay_s=delay_s,
            entry=entry,
            max_entries=_MAX_LOG_ENTRIES,
            failing_s=FAILING_S,
            forget_s=FORGET_FAILURES_S,
            disabled_s=DISABLED_S,
        )
        return DeliveryOutcome(*answer) if answer else None

    def of_job(self, tenant: str, job_id: str) -> list[dict[str, Any]]:
        """Return the deliveries of a job as ``find`` does, oldest first. Raises NotFound."""
        found = self._scripts.run("deliveries", job_id=job_id, tenant=tenant)
        if found is None:
            raise NotFound
        return [_view(*entry) for entry in found]

    def find(self, tenant: str, delivery_id: str) -> dict[str, Any]:
        """Return a delivery: state, next attempt, log, and whether its endpoint is disabled.

        Raises NotFound.
        """
        return _found(self._scripts.run("find_delivery", id=delivery_id, tenant=tenant))

    def redeliver(self, tenant: str, delivery_id: str) -> dict[str, Any]:
        """Send a delivery again now, as the same event, also to a disabled endpoint.

        Raises NotFound.
        """
        return _found(self._scripts.run("redeliver", id=delivery_id, tenant=tenant))

    def send_test(self, tenant: str, url: str) -> dict[str, Any]:
        """Send a test event, which belongs to no job, also to a disabled endpoint."""
        created = self._scripts.run(
            "send_test",
            id=new_id("dlv"),
            event_id=new_id("evt"),
            event=TEST_EVENT,
            tenant=tenant,
            url=url,
        )
        return _found(created)

    def dead_letters(
        self, tenant: str, limit: int, cursor: str | None = None
    ) -> tuple[list[dict[str, Any]], str | None]:
        """Return dead deliveries, the latest first, and the next cursor, None at the end.

        Raises InvalidRequest for an unknown cursor.
        """
        at, last = decode(cursor) if cursor is not None else ("+inf", "")
        found, *place = self._scripts.run(
            "dead_letters", tenant=tenant, until_at=at, until_id=last, limit=limit
        )
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
        batch=_batch(record),
        disabled=disabled,
    )


def _batch(record: dict[str, str]) -> Batch | None:
    if "batch" not in record:
        return None
    return to_batch(record["batch_id"], pairs(json.loads(record["batch"])))


def _found(delivery: Any) -> dict[str, Any]:
    if not delivery:
        raise NotFound
    return _view(*delivery)


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
        "batch_id": record.get("batch_id"),
        "url": record["url"],
        "state": record["state"],
        "tries": int(record["tries"]),
        "created_at": float(record["created_at"]),
        "next_try_at": float(next_try) if next_try else None,
        "disabled": {"at": float(at), "reason": because} if at else None,
        "attempts": [json.loads(entry) for entry in log],
    }
