"""/v1/usage: the usage and the limits of the API key of the request."""

from __future__ import annotations

from flask import Response, g
from flask_openapi3.blueprint import APIBlueprint
from flask_openapi3.models.tag import Tag

from api.auth import caller
from api.context import current_services
from api.openapi import returns
from shared.contract.usage import InputLimit, JobCounts, Limits, QueueLimit, RequestLimit, Usage
from shared.settings import Settings

blueprint = APIBlueprint(
    "usage",
    __name__,
    url_prefix="/v1",
    abp_tags=[Tag(name="usage", description="Usage of your API key.")],
)


@blueprint.get(
    "/usage",
    operation_id="usage",
    summary="Usage and limits of this API key",
    responses=returns(Usage, 200),
)
def usage() -> Response:
    """Jobs, faces and bytes of this API key since it was created, and its limits."""
    services, key = current_services(), caller()
    used = services.usage.of(key.tenant, key.owner_id)
    body = Usage(
        tenant=key.tenant,
        key_id=key.owner_id,
        jobs=JobCounts(
            created=used.created,
            succeeded=used.succeeded,
            failed=used.failed,
            canceled=used.canceled,
        ),
        faces_restored=used.faces,
        input_bytes=used.input_bytes,
        limits=_limits(services.settings, used.queued),
    )
    response = Response(body.model_dump_json(), content_type="application/json")
    response.headers["Cache-Control"] = "private, no-store"
    return response


def _limits(settings: Settings, queued: int) -> Limits:
    allowance = g.get("allowance")
    return Limits(
        requests=RequestLimit(
            quota=settings.rate_limit or None,
            window_s=settings.rate_window_s,
            remaining=allowance and allowance.remaining,
        ),
        queue=QueueLimit(quota=settings.max_queued_per_tenant, queued=queued),
        input=InputLimit(
            bytes=settings.max_input_bytes,
            pixels=settings.max_pixels,
            side_px=settings.max_side_px,
        ),
    )
