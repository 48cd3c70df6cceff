"""/v1/deliveries and /v1/webhooks: the log of webhooks, redelivery, tests and secrets."""

from __future__ import annotations

import re
import time
from datetime import UTC, datetime
from typing import Any

from flask import Response, request
from flask_openapi3.blueprint import APIBlueprint
from flask_openapi3.models.tag import Tag
from pydantic import BaseModel, ConfigDict, Field
from pydantic.json_schema import SkipJsonSchema

from api.auth import caller
from api.context import current_services
from api.jobs.submission import read_document
from api.openapi import TEST_BODY, problems, returns
from api.routes.restorations import JobPath, check_id, no_default
from shared import errors
from shared.contract.deliveries import (
    Delivery,
    DeliveryAttempt,
    DeliveryList,
    DeliveryPage,
    EndpointDisabled,
    WebhookSecret,
    WebhookTestRequest,
)
from shared.contract.restorations import Resource
from shared.errors import InputError, InvalidRequest, NotFound
from shared.net.fetcher import vet
from shared.tenants.api_keys import WEBHOOK_OVERLAP_S

blueprint = APIBlueprint(
    "deliveries",
    __name__,
    url_prefix="/v1",
    abp_tags=[
        Tag(name="webhooks", description="Deliveries of webhooks, and the secret that signs them.")
    ],
)

_DELIVERY_ID = re.compile(r"dlv_[0-9a-f]{32}", re.ASCII)


class DeliveryPath(BaseModel):
    delivery_id: str = Field(description="`id` of the delivery.")


class PageQuery(BaseModel):
    model_config = ConfigDict(extra="forbid", json_schema_extra=no_default)

    limit: int = Field(20, ge=1, le=100, description="Deliveries on one page.")
    cursor: str | SkipJsonSchema[None] = Field(
        None, max_length=512, description="`next_cursor` of the previous page."
    )


@blueprint.get(
    "/restorations/<job_id>/deliveries",
    operation_id="deliveries",
    summary="Webhooks of a job",
    responses={**returns(DeliveryList, 200), **problems(errors.NotFound)},
)
def of_job(path: JobPath) -> Response:
    """Webhooks of a job, oldest first, with their attempts."""
    found = current_services().outbox.of_job(caller().tenant, check_id(path.job_id))
    return _json(DeliveryList(data=[_view(delivery) for delivery in found]), 200)


@blueprint.get(
    "/deliveries",
    operation_id="dead_letters",
    summary="Webhooks that were given up",
    responses={**returns(DeliveryPage, 200), **problems(errors.InvalidRequest)},
)
def dead_letters(query: PageQuery) -> Response:
    """Dead letters: webhooks that were given up, the latest one first."""
    outbox, tenant = current_services().outbox, caller().tenant
    found, next_cursor = outbox.dead_letters(tenant, query.limit, query.cursor)
    data = [_view(delivery) for delivery in found]
    return _json(DeliveryPage(data=data, next_cursor=next_cursor), 200)


@blueprint.get(
    "/deliveries/<delivery_id>",
    operation_id="delivery",
    summary="One webhook",
    responses={**returns(Delivery, 200), **problems(errors.NotFound)},
)
def get(path: DeliveryPath) -> Response:
    """One webhook with its attempts."""
    found = current_services().outbox.find(caller().tenant, _check_id(path.delivery_id))
    return _json(_view(found), 200)


@blueprint.post(
    "/deliveries/<delivery_id>/redeliver",
    operation_id="redeliver",
    summary="Send a webhook again",
    responses={**returns(Delivery, 202), **problems(errors.NotFound)},
)
def redeliver(path: DeliveryPath) -> Response:
    """Send a webhook again now, with the same `webhook-id`, also if it was delivered before.

    A pending webhook is sent now, too. A disabled endpoint gets one attempt, and is enabled if
    that succeeds.
    """
    found = current_services().outbox.redeliver(caller().tenant, _check_id(path.delivery_id))
    return _json(_view(found), 202)


@blueprint.post(
    "/webhooks/test",
    operation_id="test_webhook",
    summary="Send a test webhook",
    responses={
        **returns(Delivery, 202, headers={"Location": "Path of the delivery."}),
        **problems(
            errors.MalformedRequest,
            errors.PayloadTooLarge,
            errors.UnsupportedMediaType,
            errors.InvalidRequest,
        ),
    },
    openapi_extensions={"requestBody": TEST_BODY},
)
def send_test() -> Response:
    """Send a signed event `webhook.test` with one attempt, also to a disabled endpoint."""
    services = current_services()
    url = read_document(request, WebhookTestRequest).url
    try:
        vet(url, allow_private=services.settings.allow_private_addresses)
    except InputError as error:
        raise InvalidRequest("1 field is not valid.", [("/url", error.detail)]) from None
    delivery = _view(services.outbox.send_test(caller().tenant, url))
    response = _json(delivery, 202)
    response.headers["Location"] = f"{request.script_root}/v1/deliveries/{delivery.id}"
    return response


@blueprint.post(
    "/webhooks/secret",
    operation_id="rotate_secret",
    summary="Replace the webhook secret",
    responses=returns(WebhookSecret, 200),
)
def rotate() -> Response:
    """Create a new secret. For 24 hours webhooks are signed with the old secret, too."""
    secret = current_services().keys.rotate_webhook_secret(caller().tenant)
    until = _instant(time.time() + WEBHOOK_OVERLAP_S)
    return _json(WebhookSecret(secret=secret, old_valid_until=until), 200)


def _check_id(delivery_id: str) -> str:
    """Return a well-formed id, which may be part of a Redis key. Raises NotFound otherwise."""
    if not _DELIVERY_ID.fullmatch(delivery_id):
        raise NotFound
    return delivery_id


def _view(delivery: dict[str, Any]) -> Delivery:
    next_try_at, disabled = delivery["next_try_at"], delivery["disabled"]
    same = ("id", "event_id", "event", "url", "state", "tries")
    return Delivery(
        **{name: delivery[name] for name in same},
        restoration_id=delivery["job_id"],
        batch_id=delivery["batch_id"],
        created_at=_instant(delivery["created_at"]),
        next_try_at=None if next_try_at is None else _instant(next_try_at),
        disabled=disabled
        and EndpointDisabled(at=_instant(disabled["at"]), reason=disabled["reason"]),
        attempts=[
            DeliveryAttempt(
                attempt=attempt["attempt"],
                at=_instant(attempt["at"]),
                status_code=attempt["status_code"],
                latency_ms=attempt["latency_ms"],
                error=attempt["error"],
            )
            for attempt in delivery["attempts"]
        ],
    )


def _instant(unix_s: float) -> datetime:
    return datetime.fromtimestamp(unix_s, UTC)


def _json(resource: Resource, status: int) -> Response:
    response = Response(resource.model_dump_json(), status, content_type="application/json")
    response.headers["Cache-Control"] = "private, no-store"
    return response
