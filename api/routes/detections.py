"""/v1/detections: find the faces of a photo, to choose which ones a restoration restores."""

from __future__ import annotations

from flask import Response, request
from flask_openapi3.blueprint import APIBlueprint
from flask_openapi3.models.tag import Tag
from pydantic import BaseModel, Field

from api.auth import caller
from api.context import current_services
from api.jobs.detected_faces import check_id
from api.jobs.erasure import erase
from api.jobs.submission import read_detection
from api.openapi import DETECTION_BODY, SUBMIT_HEADERS, problems
from api.routes.job_responses import JobResponses, WaitQuery, reading, submitting
from shared import errors
from shared.contract.detections import Detection
from shared.contract.rendering import represent_detection

blueprint = APIBlueprint(
    "detections",
    __name__,
    url_prefix="/v1",
    abp_tags=[Tag(name="detections", description="Jobs. Each finds the faces of one photo.")],
)

#: Operations that accept the id of a new detection.
_NEXT_OPERATIONS = ("detection", "erase_detection")
_responses = JobResponses("/v1/detections", represent_detection)


class DetectionPath(BaseModel):
    detection_id: str = Field(description="`id` of the detection.")


@blueprint.post(
    "/detections",
    operation_id="detect",
    summary="Find the faces of a photo",
    responses=submitting(Detection, *_NEXT_OPERATIONS, parameter="detection_id"),
    openapi_extensions={"requestBody": DETECTION_BODY, "parameters": SUBMIT_HEADERS},
)
def detect() -> Response:
    """Find the faces of a photo, and restore none.

    A restoration of the same photo can name faces that were found, in `options.faces`.
    """
    max_bytes = current_services().settings.max_input_bytes
    return _responses.submit(lambda: read_detection(request, max_input_bytes=max_bytes))


@blueprint.get(
    "/detections/<detection_id>",
    operation_id="detection",
    summary="One detection",
    responses=reading(Detection, "detection"),
)
def get(path: DetectionPath, query: WaitQuery) -> Response:
    """One detection, with new presigned URLs of its previews."""
    return _responses.read(check_id(path.detection_id), query.wait)


@blueprint.delete(
    "/detections/<detection_id>",
    operation_id="erase_detection",
    summary="Erase a detection",
    responses={204: {"description": "The detection is erased."}, **problems(errors.NotFound)},
)
def delete(path: DetectionPath) -> Response:
    """Erase a detection in any state: its record, its photo if it was uploaded, and its previews.

    Restorations that were submitted with its faces are kept.
    """
    erase(caller().tenant, check_id(path.detection_id), current_services())
    return Response(status=204)
