"""/v1/uploads: a form with which a client sends a photo straight to the object storage."""

from __future__ import annotations

from flask import Response, request
from flask_openapi3.blueprint import APIBlueprint
from flask_openapi3.models.tag import Tag

from api.auth import caller
from api.context import current_services
from api.jobs.submission import read_document
from api.jobs.uploads import create_upload
from api.openapi import UPLOAD_BODY, problems, returns
from shared import errors
from shared.contract.uploads import Upload, UploadRequest

blueprint = APIBlueprint(
    "uploads",
    __name__,
    url_prefix="/v1",
    abp_tags=[
        Tag(name="uploads", description="Photos that are sent straight to the object storage.")
    ],
)


@blueprint.post(
    "/uploads",
    operation_id="create_upload",
    summary="Get a form to send a photo",
    responses={
        **returns(Upload, 201),
        **problems(
            errors.MalformedRequest,
            errors.PayloadTooLarge,
            errors.UnsupportedMediaType,
            errors.InvalidRequest,
            errors.InputTooLarge,
        ),
    },
    openapi_extensions={"requestBody": UPLOAD_BODY},
)
def create() -> Response:
    """Get a form with which anyone can send one photo straight to the object storage.

    The form needs no API key. The storage accepts only a file of this type and of at most this
    size. Then submit the photo with `input.upload_id`, once, before `expires_at`.
    """
    wanted = read_document(request, UploadRequest)
    upload = create_upload(wanted, caller().tenant, current_services())
    response = Response(upload.model_dump_json(), 201, content_type="application/json")
    response.headers["Cache-Control"] = "private, no-store"
    return response
