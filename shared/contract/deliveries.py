"""Requests and resources of webhooks: deliveries, tests, secrets."""

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
    """One attempt. ``status_code`` is null without a response; then ``error`` says why."""

    attempt: int
    at: datetime
    status_code: int | None
    latency_ms: int
    error: str | None


class EndpointDisabled(Resource):
    """``gone``: the endpoint responded 410. ``failing``: every attempt failed for 120 hours."""

    at: datetime
    reason: Literal["gone", "failing"]


class Delivery(Resource):
    """A webhook and its attempts. ``disabled``: why its endpoint receives no webhooks, or null.

    ``tries`` counts the attempts since the last redelivery. ``attempts`` has the last 50 of all.
    """

    id: str
    object: Literal["delivery"] = "delivery"
    restoration_id: str | None
    batch_id: str | None = None
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
    """A new secret. Until ``old_valid_until``, webhooks are signed with the old one, too."""

    object: Literal["webhook_secret"] = "webhook_secret"
    secret: str
    old_valid_until: datetime
