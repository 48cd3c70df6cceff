"""What customers send and see of webhooks: deliveries, tests, secrets."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from shared.contract.restorations import Request, Resource, Url

# --- requests -------------------------------------------------------------------------------


class WebhookTestRequest(Request):
    """JSON body of POST /v1/webhooks/test."""

    url: Url


# --- resources ------------------------------------------------------------------------------


class DeliveryAttempt(Resource):
    """One try. ``status_code`` null: no answer came, ``error`` says why."""

    attempt: int
    at: datetime
    status_code: int | None
    latency_ms: int
    error: str | None


class EndpointDisabled(Resource):
    """``gone``: it answered 410. ``failing``: nothing but failures for 120 hours."""

    at: datetime
    reason: Literal["gone", "failing"]


class Delivery(Resource):
    """A webhook on its way. ``disabled``: why its endpoint is sent nothing, null if all is well.

    ``tries`` counts since it was last sent again, ``attempts`` are the last 50 of all.
    """

    id: str
    object: Literal["delivery"] = "delivery"
    restoration_id: str | None
    event_id: str
    event: str
    url: str
    state: Literal["pending", "delivered", "dead"]
    tries: int
    created_at: datetime
    next_try_at: datetime | None
    disabled: EndpointDisabled | None
    attempts: list[DeliveryAttempt]


class DeliveryList(Resource):
    data: list[Delivery]


class DeliveryPage(Resource):
    data: list[Delivery]
    next_cursor: str | None


class WebhookSecret(Resource):
    """A new secret. The one before signs beside it until ``old_valid_until``."""

    object: Literal["webhook_secret"] = "webhook_secret"
    secret: str
    old_valid_until: datetime
