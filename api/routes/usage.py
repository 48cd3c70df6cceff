"""/v1/usage: what the key that asks has used, and what it may."""

from __future__ import annotations

from flask import Response, g
from flask_openapi3.blueprint import APIBlueprint
from flask_openapi3.models.tag import Tag

from api.auth import caller
from api.context import services
from api.openapi import answers
from shared.contract.usage import InputLimit, JobCounts, Limits, QueueLimit, RequestLimit, Usage
from shared.settings import Settings

blueprint = APIBlueprint(
    "usage", __name__, url_prefix="/v1", abp_tags=[Tag(name="usage", description="Your key.")]
)


@blueprint.get(
    "/usage",
    operation_id="usage",
    summary="What this key has used, and its limits",
    responses=answers(Usage, 200),
)
def usage() -> Response:
    """Jobs, faces and bytes of this API key since it was made, and its limits."""
    found, key = services(), caller()
    used = found.usage.of(key.tenant, key.id)
    body = Usage(
        tenant=key.tenant,
        key_id=key.id,
        jobs=JobCounts(
            created=used.created,
            succeeded=used.succeeded,
            failed=used.failed,
            canceled=used.canceled,
        ),
        faces_restored=used.faces,
        input_bytes=used.input_bytes,
        limits=_limits(found.settings, used.queued),
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
