"""For those who run the service: is it alive, is it ready, how does it do."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Literal

from flask import Response
from flask_openapi3.blueprint import APIBlueprint
from flask_openapi3.models.tag import Tag
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from api.context import services
from api.openapi import answers
from shared.contract.restorations import Readiness
from shared.errors import FacemendError

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
    """Ask nothing but this process."""
    return Response("ok\n", content_type="text/plain; charset=utf-8")


@blueprint.get(
    "/readyz",
    operation_id="ready",
    summary="Can it take work?",
    responses=answers(Readiness, 200, 503),
)
def ready() -> Response:
    """Whether Redis and the object storage answer; why not is in the logs."""
    found = services()
    parts = {
        "redis": _state("redis", found.store.ping),
        "s3": _state("s3", found.storage.ping),
    }
    all_well = all(state == "ok" for state in parts.values())
    body = Readiness(ready=all_well, parts=parts).model_dump_json()
    return Response(body, 200 if all_well else 503, content_type="application/json")


@blueprint.get(
    "/metrics",
    operation_id="metrics",
    summary="Prometheus metrics of this process",
    responses={
        200: {
            "description": "The text format of Prometheus.",
            "content": {"text/plain": {"schema": {"type": "string"}}},
        }
    },
)
def metrics() -> Response:
    """Each process tells of itself: run one per address (threads inside), and scale by replicas."""
    return Response(generate_latest(), content_type=CONTENT_TYPE_LATEST)


def _state(name: str, ping: Callable[[], None]) -> Literal["ok", "unreachable"]:
    try:
        with services().patience.fresh(share=0.4):  # the one asked last has as long as the first
            ping()
    except FacemendError as error:
        _log.warning("not ready: %s: %s", name, error.detail)
        return "unreachable"
    return "ok"
