"""Routes for operators: liveness, readiness and metrics."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Literal

from flask import Response, request
from flask_openapi3.blueprint import APIBlueprint
from flask_openapi3.models.tag import Tag

from api.context import current_services
from api.openapi import returns
from shared.contract.restorations import Readiness
from shared.errors import FacemendError
from shared.telemetry import exposition

_log = logging.getLogger(__name__)

blueprint = APIBlueprint(
    "ops", __name__, abp_tags=[Tag(name="operations", description="Probes and metrics.")]
)


@blueprint.get(
    "/healthz",
    operation_id="alive",
    summary="Is the process alive?",
    responses={
        200: {
            "description": "Yes.",
            "content": {"text/plain": {"schema": {"type": "string", "example": "ok"}}},
        }
    },
)
def alive() -> Response:
    """The process is alive. Redis and the object storage are not asked."""
    return Response("ok\n", content_type="text/plain; charset=utf-8")


@blueprint.get(
    "/readyz",
    operation_id="ready",
    summary="Can it accept requests?",
    responses=returns(Readiness, 200, 503),
)
def ready() -> Response:
    """Whether Redis and the object storage respond. The logs say why not."""
    services = current_services()
    parts = {
        "redis": _state("redis", services.store.ping),
        "s3": _state("s3", services.storage.ping),
    }
    all_ok = all(state == "ok" for state in parts.values())
    body = Readiness(ready=all_ok, parts=parts).model_dump_json()
    return Response(body, 200 if all_ok else 503, content_type="application/json")


@blueprint.get(
    "/metrics",
    operation_id="metrics",
    summary="Prometheus metrics of this process",
    responses={
        200: {
            "description": "OpenMetrics if it is accepted, else the text format of Prometheus.",
            "content": {
                "text/plain": {"schema": {"type": "string"}},
                "application/openmetrics-text": {"schema": {"type": "string"}},
            },
        }
    },
)
def metrics() -> Response:
    """The metrics of this process only: run one process per address, and scale by replicas."""
    body, content_type = exposition(request.headers.get("Accept", ""))
    return Response(body, content_type=content_type)


def _state(name: str, ping: Callable[[], None]) -> Literal["ok", "unreachable"]:
    try:
        # Less than half of the time each, so that a silent part does not use all of it.
        with current_services().deadline.start(share=0.4):
            ping()
    except FacemendError as error:
        _log.warning("not ready: %s: %s", name, error.detail)
        return "unreachable"
    return "ok"
