"""Photos that clients send straight to the object storage, before they submit them.

An upload needs no record. Its id is that of the job that will use it, with another prefix: so its
object is already where the photo of that job belongs, and the upload can be used once, since an id
can be used once. The id contains the time at which it was made (UUIDv7, RFC 9562 §5.7).
"""

from __future__ import annotations

import time

from api.context import Services
from shared.contract.uploads import Upload, UploadRequest
from shared.errors import Conflict, InputNotFound, InputTooLarge, NotFound
from shared.jobs.job import new_id
from shared.settings import Settings
from shared.storage.bucket import StoredObject
from shared.storage.keys import input_key

_JOB, _UPLOAD = "job_", "upl_"


def create_upload(wanted: UploadRequest, tenant: str, services: Services) -> Upload:
    """Return a form for one photo. The storage accepts that type and no more than that size.

    Raises InputTooLarge.
    """
    settings = services.settings
    if wanted.bytes > settings.max_input_bytes:
        raise InputTooLarge(
            f"The photo has {wanted.bytes} bytes; {settings.max_input_bytes} are allowed."
        )
    job_id = new_id("job")
    post = services.storage.presign_post(
        input_key(tenant, job_id),
        content_type=wanted.content_type,
        max_bytes=wanted.bytes,
        ttl_s=settings.upload_ttl_s,
    )
    return Upload(
        upload_id=_UPLOAD + job_id.removeprefix(_JOB),
        url=post.url,
        fields=post.fields,
        expires_at=post.expires_at,
    )


def job_of_upload(upload_id: str) -> str:
    """Return the id of the job that uses, or will use, the upload."""
    return _JOB + upload_id.removeprefix(_UPLOAD)


def find_upload(upload_id: str, tenant: str, services: Services) -> StoredObject:
    """Return the uploaded photo.

    Raises Conflict if a job has used it; InputNotFound if it is unknown, expired, of another
    tenant, or not sent yet; InputTooLarge.
    """
    job_id, settings = job_of_upload(upload_id), services.settings
    check_unused(job_id, tenant, services)
    check_not_expired(upload_id, settings)
    try:
        stored = services.storage.head(input_key(tenant, job_id))
    except InputNotFound:
        raise not_sent() from None
    if stored.bytes > settings.max_input_bytes:
        raise InputTooLarge(
            f"The photo has {stored.bytes} bytes; {settings.max_input_bytes} are allowed."
        )
    return stored


def check_not_expired(upload_id: str, settings: Settings) -> None:
    """Raises InputNotFound for an upload that has expired."""
    if time.time() > _made_at(upload_id) + settings.upload_ttl_s:
        raise InputNotFound("The upload has expired. Create another one.")


def not_sent() -> InputNotFound:
    """Return the error for an upload whose object is not there."""
    return InputNotFound("There is no such upload, or its photo was not sent yet.")


def used(job_id: str) -> Conflict:
    """Return the error for an upload that this job has used."""
    return Conflict(f"The upload was used already, by {job_id}.")


def check_unused(job_id: str, tenant: str, services: Services) -> None:
    """Raises Conflict if there is a job that has used the upload."""
    try:
        services.store.get(tenant, job_id)
    except NotFound:
        return
    raise used(job_id)


def _made_at(upload_id: str) -> float:
    """Return the Unix time in the id: its first 48 bits, in milliseconds."""
    return int(upload_id.removeprefix(_UPLOAD)[:12], 16) / 1000
