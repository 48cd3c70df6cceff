"""Turns a valid request into an accepted job: the last checks, then all or nothing.

The order matters. The Idempotency-Key is reserved first, so that a second request has no effect.
Then the photo is stored, then the manifest, which survives the loss of Redis. The job record comes
last, because from then on the job is accepted.
"""

from __future__ import annotations

import logging
import re
from dataclasses import dataclass, replace
from typing import Any

from api.context import Services
from api.jobs import detected_faces
from api.jobs import photo_check as photos
from api.jobs.submission import Submission
from api.jobs.uploads import check_unused, find_upload, job_of_upload
from shared.errors import (
    Conflict,
    FacemendError,
    Forbidden,
    IdempotencyInProgress,
    InputError,
    InputNotFound,
    InputTooLarge,
    InvalidRequest,
    MalformedRequest,
    NotFound,
    ObjectKeyInvalid,
    QueueFull,
    Refused,
    Unavailable,
)
from shared.jobs.job import Job, Kind, Status, new_id
from shared.jobs.queues import QueueName
from shared.jobs.record import NewJob, as_new
from shared.model_names import CATALOGUE_MODELS
from shared.net.fetcher import vet
from shared.photo_size import require_size
from shared.storage.bucket import StoredObject
from shared.storage.keys import file_key, input_key, quarantine_key
from shared.telemetry import JOBS_CREATED, current_traceparent
from shared.tenants.api_keys import ApiKey

_log = logging.getLogger(__name__)
#: Share of the request deadline that a refused request may use in addition, to clean up.
_CLEANUP_SHARE = 0.1
_UPLOAD_BUSY_S = 5
ADMIN = "admin"
_VISIBLE = re.compile(r"[\x21-\x7e]{1,255}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Admission:
    """The job. ``replayed``: an earlier request with the same Idempotency-Key made it.

    ``wait_s``: for how long to wait for its end, None without a preference. A repetition without
    one waits as the first request did.
    """

    job: Job
    replayed: bool
    wait_s: int | None


def check_idempotency_key(value: str | None) -> str | None:
    """Return ``value``. Raises MalformedRequest unless it is 1…255 visible ASCII characters."""
    if value is not None and not _VISIBLE.fullmatch(value):
        raise MalformedRequest("Idempotency-Key must be 1 to 255 visible ASCII characters.")
    return value


def admit(
    submission: Submission,
    *,
    caller: ApiKey,
    idempotency_key: str | None,
    services: Services,
    wait_s: int | None = None,
    request_id: str = "",
) -> Admission:
    """Make the job, once. Raises RequestError or InputError; then there is no job."""
    store = services.store
    parameters = submission.parameters
    model = parameters.model or services.settings.default_model
    pool = pool_for(model, caller, services)
    room_for = (caller.tenant, QueueName(model, parameters.priority, pool))
    if idempotency_key is None:
        store.check_room(*room_for)
        job = _accept(submission, pool, caller, None, services, request_id)
        return Admission(job, replayed=False, wait_s=wait_s)
    first = store.idempotency.begin(
        caller.owner_id, idempotency_key, submission.fingerprint, room_for, wait_s
    )
    if first is not None:
        wait_s = first.wait_s if wait_s is None else wait_s
        return Admission(_replay(first.job_id, caller, services), replayed=True, wait_s=wait_s)
    try:
        job = _accept(submission, pool, caller, idempotency_key, services, request_id)
    except BaseException:
        abandon(services, caller, idempotency_key)
        raise
    return Admission(job, replayed=False, wait_s=wait_s)


def retry_job(caller: ApiKey, job_id: str, services: Services) -> Job:
    """Put a failed or canceled job back into the queue.

    A job in quarantine (``Job.poisoned``) runs alone, and only a key with the scope ``admin`` may
    do this. Raises NotFound, Conflict for a job in another state, InputNotFound if its photo is
    gone, QueueFull, InvalidRequest if no pool may serve it any more, and Forbidden if a token may
    create no more jobs.
    """
    before = services.store.get(caller.tenant, job_id)
    if before.status not in {Status.FAILED, Status.CANCELED}:
        raise Conflict(f"The job is {before.status}. Only failed and canceled jobs can be retried.")
    if before.poisoned and ADMIN not in caller.scopes:
        raise Conflict(
            "The photo crashed the worker, so the job is in quarantine. Only a key with the scope"
            f" {ADMIN} can run it again."
        )
    if before.poisoned:
        services.storage.head(quarantine_key(before.tenant, job_id))
    elif "key" in before.source:
        services.storage.head(before.source["key"])  # fail now, not in the run
    pool = pool_for(before.model, caller, services)
    services.pools.check(before.model, pool)
    new = replace(as_new(before, caller.owner_id), pool=pool)
    services.store.check_room(before.tenant, QueueName.of(new))
    services.manifests.write(new, before.generation + 1)
    message = services.doorbell.message(new.id, QueueName.of(new))
    try:
        return services.store.retry(
            caller.tenant,
            job_id,
            before.generation,
            message,
            token_id=token_id_of(caller),
            pool=pool,
        )
    except (QueueFull, Forbidden):
        # Only after these errors: otherwise the manifest may belong to an earlier request.
        services.manifests.remove(new.tenant, new.id, before.generation + 1)
        raise


def pool_for(model: str, caller: ApiKey, services: Services) -> str:
    """Return the pool for a job of the caller. ``Pools.check`` says whether it serves the model."""
    return services.pools.choose(model, caller.pin, services.store.workers.serving)


def token_id_of(caller: ApiKey) -> str | None:
    """Return the id of a key that may create only some jobs, else None."""
    return caller.id if caller.parent else None


def known_models(services: Services) -> frozenset[str]:
    """Return the models that a request may name: those of the settings and of live workers."""
    settings = services.settings
    live = (model.name for model in services.store.workers.served_models())
    return frozenset({settings.default_model, *settings.served_models, *live})


def _replay(job_id: str, caller: ApiKey, services: Services) -> Job:
    try:
        return services.store.get(caller.tenant, job_id)
    except NotFound:
        raise NotFound("The job of this Idempotency-Key has been erased.") from None


def abandon(services: Services, caller: ApiKey, idempotency_key: str) -> None:
    """Give a reserved Idempotency-Key back, after a request that was refused. Never raises."""
    try:
        with services.deadline.start(
            share=_CLEANUP_SHARE
        ):  # the deadline of the request may be over
            services.store.idempotency.abandon(caller.owner_id, idempotency_key)
    except Unavailable:
        _log.warning("Idempotency-Key not released; it expires within a minute")


def _accept(  # noqa: PLR0917
    submission: Submission,
    pool: str,
    caller: ApiKey,
    idempotency_key: str | None,
    services: Services,
    request_id: str,
) -> Job:
    if caller.jobs_left == 0:
        raise Forbidden("This token may create no more jobs.")  # before its photo is stored
    model = submission.parameters.model
    if model is not None:
        check_model(model, known_models(services))
    services.pools.check(model or services.settings.default_model, pool)
    check_addresses(submission, caller, services)
    detected = detected_faces.of_request(submission, caller, services)
    job_id = _job_id(submission)
    source = _source(submission, caller, job_id, services)
    new = replace(
        new_job(
            submission,
            job_id,
            source=source,
            detected=detected,
            pool=pool,
            caller=caller,
            services=services,
        ),
        token_id=token_id_of(caller),
        idempotency_key=idempotency_key,
        idempotency_fingerprint=submission.fingerprint if idempotency_key else None,
        request_id=request_id,
        kind=submission.kind,
        trace=current_traceparent(),
    )
    _write_manifest(new, services)
    try:
        job = services.store.create(new, services.doorbell.message(job_id, QueueName.of(new)))
    except (QueueFull, IdempotencyInProgress, Forbidden):
        # Only after these errors: after a timeout, the job may exist and need both.
        services.manifests.remove(new.tenant, new.id)
        if submission.image is not None:
            services.storage.delete([source["key"]])
        raise
    except (Conflict, Refused):  # Conflict: the job that used the upload has ended
        services.manifests.remove(new.tenant, new.id)  # the job was not accepted
        raise
    JOBS_CREATED.labels(model=job.model, priority=job.priority).inc()
    return job


def _job_id(submission: Submission) -> str:
    """Return the id of the new job. That of a restoration uses up its upload.

    A detection does not: then the same upload can be restored.
    """
    upload_id = submission.input and submission.input.upload_id
    if upload_id and submission.kind is Kind.RESTORATION:
        return job_of_upload(upload_id)
    return new_id(submission.kind.id_prefix)


def new_job(
    submission: Submission,
    job_id: str,
    *,
    source: dict[str, Any],
    detected: dict[str, Any],
    pool: str,
    caller: ApiKey,
    services: Services,
) -> NewJob:
    """Return the job for a submission that has passed all checks.

    ``detected``: what the request keeps of a detection (``detected_faces.of_request``).
    """
    parameters = submission.parameters
    model = parameters.model or services.settings.default_model
    return NewJob(
        id=job_id,
        tenant=caller.tenant,
        key_id=caller.owner_id,
        model=model,
        priority=parameters.priority,
        request=submission.record | {"model": model} | detected,
        source=source,
        webhook=parameters.webhook.model_dump(mode="json") if parameters.webhook else None,
        start_before_s=parameters.start_before_s,
        pool=pool,
    )


def _write_manifest(new: NewJob, services: Services) -> None:
    """Raises Conflict if another request has used the upload, whose id the job has."""
    try:
        services.manifests.write(new)
    except Conflict:
        check_unused(new.id, new.tenant, services)
        # The other request is not done, or it was interrupted: then the sweeper makes its job.
        raise IdempotencyInProgress("Another request uses this upload.", _UPLOAD_BUSY_S) from None


def check_model(wanted: str, known: frozenset[str]) -> None:
    """Raises InvalidRequest for a model that is not one of ``known_models``."""
    if wanted not in known:
        raise _invalid("/model", _why_unknown(wanted, known))


def _why_unknown(wanted: str, known: frozenset[str]) -> str:
    served = f"known models are {', '.join(sorted(known))}"
    if wanted not in CATALOGUE_MODELS:
        return f"unknown model; {served}"
    return (
        f"this service does not serve the model; {served}. To serve it, the operator runs"
        f" `facemend models pull {wanted}` and adds it to FACEMEND_SERVED_MODELS"
    )


def check_addresses(submission: Submission, caller: ApiKey, services: Services) -> None:
    """Refuse now the URLs and keys that the worker or the notifier would refuse later."""
    allow_private = services.settings.allow_private_addresses
    given, parameters = submission.input, submission.parameters
    if given and given.url is not None:
        vet(given.url, allow_private=allow_private)
    if parameters.webhook:
        check_webhook(parameters.webhook.url, services)
    if parameters.output.store:
        try:
            vet(parameters.output.store.url, allow_private=allow_private)
        except InputError as error:
            raise _invalid("/output/store/url", error.detail) from None
    target = parameters.output.key
    if target is not None:
        _check_target(target, given.key if given else None, caller)


def check_webhook(url: str, services: Services) -> None:
    """Raises InvalidRequest for an address to which no webhook is sent."""
    try:
        vet(url, allow_private=services.settings.allow_private_addresses)
    except InputError as error:
        raise _invalid("/webhook/url", error.detail) from None


def _check_target(target: str, source: str | None, caller: ApiKey) -> None:
    try:
        file_key(caller.tenant, target)
    except ObjectKeyInvalid as error:
        raise _invalid("/output/key", error.detail) from None
    except InputNotFound:
        raise _invalid("/output/key", "no part between slashes may be empty, . or ..") from None
    if target == source:
        # After a crash, the next run would read its own result as input.
        raise _invalid("/output/key", "the result cannot replace the input")


def _source(
    submission: Submission, caller: ApiKey, job_id: str, services: Services
) -> dict[str, Any]:
    """Return where the worker finds the photo. The ETag pins an object to its current version."""
    if submission.image is not None:
        return _store(submission.image, caller, job_id, services)
    assert submission.input is not None  # noqa: S101  # a Submission has one of the two
    if submission.input.url is not None:
        return {"url": submission.input.url}
    if submission.input.upload_id is not None:
        return _stored(find_upload(submission.input.upload_id, caller.tenant, services))
    key = input_file_key(submission.input.key or "", caller)
    return stored_source(services.storage.head(key), services)


def input_file_key(name: str, caller: ApiKey) -> str:
    """Return the key of the object that the tenant calls ``name``.

    Raises InvalidRequest, and InputNotFound as for a missing object.
    """
    try:
        return file_key(caller.tenant, name)
    except ObjectKeyInvalid as error:
        raise _invalid("/input/key", error.detail) from None


def stored_source(found: StoredObject, services: Services) -> dict[str, Any]:
    """Return the source of a job whose photo is this object. Raises InputTooLarge."""
    allowed = services.settings.max_input_bytes
    if found.bytes > allowed:
        raise InputTooLarge(f"The object has {found.bytes} bytes; {allowed} are allowed.")
    return _stored(found)


def _store(image: bytes, caller: ApiKey, job_id: str, services: Services) -> dict[str, Any]:
    settings = services.settings
    found = photos.glance(image)
    if found.size_px is not None:
        require_size(
            *found.size_px,
            max_pixels=settings.max_pixels,
            min_side_px=settings.min_side_px,
            max_side_px=settings.max_side_px,
            max_aspect=settings.max_aspect,
        )
    key = input_key(caller.tenant, job_id)
    stored = services.storage.put(key, image, found.content_type)
    return _stored(stored)


def _stored(found: StoredObject) -> dict[str, Any]:
    return {"key": found.key, "etag": found.etag, "bytes": found.bytes}


def _invalid(pointer: str, detail: str) -> FacemendError:
    return InvalidRequest("1 field is not valid.", [(pointer, detail)])
