"""The request and the resource of POST /v1/uploads."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from pydantic import Field

from shared.contract.restorations import Request, Resource


class UploadRequest(Request):
    """JSON body of POST /v1/uploads: the type and the size of the photo that will be sent."""

    content_type: Literal[
        "image/bmp", "image/gif", "image/jpeg", "image/png", "image/tiff", "image/webp"
    ]
    bytes: Annotated[int, Field(ge=1)]


class Upload(Resource):
    """Where and how to send one photo, straight to the object storage.

    Send a form (``multipart/form-data``) with all ``fields``, and then the photo as ``file``.
    """

    upload_id: str
    object: Literal["upload"] = "upload"
    url: str
    method: Literal["POST"] = "POST"
    fields: dict[str, str]
    expires_at: datetime
