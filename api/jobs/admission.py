"""From a request that reads well to a job that is accepted: the last checks, then all or nothing.

Order matters. The Idempotency-Key is taken first, so that a second request never does anything
twice; the photo is stored next, then the manifest, the promise that survives the loss of Redis; the
job record comes last, because from then on it must be kept.
"""

from __future__ import annotations

import logging
import re
from dataclasses import dataclass
from typing import Any

from api.context import Services
from api.jobs import photo_check as photos
from api.jobs.submission import Submission
from shared.errors import (
    Conflict,
    FacemendError,
    IdempotencyInProgress,
    InputError,
    InputTooLarge,
    InvalidRequest,
    MalformedRequest,
    NotFound,
    QueueFull,
    Refused,
    Unavailable,
)
from shared.jobs.job import Job, Status, new_id
from shared.jobs.store import NewJob
from shared.net.fetcher import vet
from shared.storage.bucket import StoredObject
from shared.storage.keys import file_key, input_key
from shared.telemetry import JOBS_CREATED
from shared.tenants.api_keys import ApiKey

_log = logging.getLogger(__name__)
#: Share of a request's time that a refused one may use, beyond it, to leave nothing behind.
_TIDYING = 0.1
_VISIBLE = re.compile(r"[\x21-\x7e]{1,255}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Admission:
    """The job, and whether an earlier request with the same Idempotency-Key had made it."""

    job: Job
    replayed: bool


def check_idempotency_key(value: str | None) -> str | None:
    """Raises MalformedRequest unless it is 1…255 visible ASCII characters."""
    if value is not None and not _VISIBLE.fullmatch(value):
        raise MalformedRequest("Idempotency-Key takes 1 to 255 visible ASCII characters.")
    return value


def admit(
    submission: Submission, *, caller: ApiKey, idempotency_key: str | None, services: Services
) -> Admission:
    """Make the job, once. Raises RequestError or InputError; then nothing was accepted."""
    store = services.store
    parameters = submission.parameters
    model = parameters.model or services.settings.default_model
    room_for = (caller.tenant, model, parameters.priority)
    if idempotency_key is None:
        store.check_room(*room_for)
        return Admission(_accept(submission, caller, None, services), replayed=False)
    job_id = store.begin_idempotent(caller.id, idempotency_key, submission.fingerprint, room_for)
    if job_id is not None:
        return Admission(_replay(job_id, caller, services), replayed=True)
    try:
        job = _accept(submission, caller, idempotency_key, services)
    except BaseException:
        _abandon(services, caller, idempotency_key)
        raise
    return Admission(job, replayed=False)


def again(caller: ApiKey, job_id: str, services: Services) -> Job:
    """Queue a failed or canceled job once more.

    Raises NotFound; Conflict for a job in another state; InputNotFound if its photo is gone by now;
    QueueFull.
    """
    before = services.store.get(caller.tenant, job_id)
    if before.status not in {Status.FAILED, Status.CANCELED}:
        raise Conflict(f"The job is {before.status}; failed and canceled ones run again.")
    if "key" in before.source:
        services.storage.head(before.source["key"])  # told now, not by a run that cannot succeed
    services.store.check_room(before.tenant, before.model, before.priority)
    new = _of(before, caller)
    services.manifests.write(new, before.generation + 1)
    bell = services.doorbell.message(new.id, new.model, new.priority)
    try:
        return services.store.retry(caller.tenant, job_id, before.generation, bell)
    except QueueFull:
        # Only here: otherwise it may be the promise of another request, which came first.
        services.manifests.remove(new.tenant, new.id, before.generation + 1)
        raise


def known_models(services: Services) -> frozenset[str]:
    """Names that a request may ask for: what the settings name and what live workers serve."""
    settings = services.settings
    live = (model.name for model in services.store.served_models())
    return frozenset({settings.default_model, *settings.served_models, *live})


def _replay(job_id: str, caller: ApiKey, services: Services) -> Job:
    try:
        return services.store.get(caller.tenant, job_id)
    except NotFound:
        raise NotFound("The job that this Idempotency-Key made is erased.") from None


def _abandon(services: Services, caller: ApiKey, idempotency_key: str) -> None:
    try:
        with services.patience.fresh(share=_TIDYING):  # the request's own time may be used up
            services.store.abandon_idempotent(caller.id, idempotency_key)
    except Unavailable:
        _log.warning("Idempotency-Key not given back; it frees itself within a minute")


def _accept(
    submission: Submission, caller: ApiKey, idempotency_key: str | None, services: Services
) -> Job:
    model = _check_model(submission.parameters.model, services)
    _check_addresses(submission, caller, services)
    job_id = new_id("job")
    source = _source(submission, caller, job_id, services)
    parameters = submission.parameters
    webhook = parameters.webhook.model_dump(mode="json") if parameters.webhook else None
    new = NewJob(
        id=job_id,
        tenant=caller.tenant,
        key_id=caller.id,
        model=model,
        priority=parameters.priority,
        request=submission.record | {"model": model},
        source=source,
        webhook=webhook,
        start_before_s=parameters.start_before_s,
        idempotency_key=idempotency_key,
        idempotency_fingerprint=submission.fingerprint if idempotency_key else None,
    )
    services.manifests.write(new)
    try:
        job = services.store.create(new, services.doorbell.message(job_id, model, new.priority))
    except (QueueFull, IdempotencyInProgress):
        # Only here: after a timeout the job may exist all the same and need both.
        services.manifests.remove(new.tenant, new.id)
        if submission.image is not None:
            services.storage.delete([source["key"]])
        raise
    except Refused:
        services.manifests.remove(new.tenant, new.id)  # nothing was promised to anybody
        raise
    JOBS_CREATED.labels(model=job.model, priority=job.priority).inc()
    return job


def _of(job: Job, caller: ApiKey) -> NewJob:
    """The job as it was asked for, to be promised once more."""
    return NewJob(
        id=job.id,
        tenant=job.tenant,
        key_id=caller.id,
        model=job.model,
        priority=job.priority,
        request=job.request,
        source=job.source,
        webhook=job.request.get("webhook"),
        start_before_s=job.request.get("start_before_s"),
    )


def _check_model(wanted: str | None, services: Services) -> str:
    if wanted is None:
        return services.settings.default_model
    known = known_models(services)
    if wanted not in known:
        raise _invalid("/model", f"unknown model; known are {', '.join(sorted(known))}")
    return wanted


def _check_addresses(submission: Submission, caller: ApiKey, services: Services) -> None:
    """Refuse at once what the worker or the notifier would refuse later."""
    allow_private = services.settings.allow_private_addresses
    given, parameters = submission.input, submission.parameters
    if given and given.url is not None:
        vet(given.url, allow_private=allow_private)
    if parameters.webhook:
        try:
            vet(parameters.webhook.url, allow_private=allow_private)
        except InputError as error:
            raise _invalid("/webhook/url", error.detail) from None
    target = parameters.output.key
    if target is not None:
        _check_target(target, given.key if given else None, caller)


def _check_target(target: str, source: str | None, caller: ApiKey) -> None:
    try:
        file_key(caller.tenant, target)
    except InputError:
        raise _invalid("/output/key", "not a key that can be written") from None
    if target == source:
        # A job that is run again after a crash would find its own result as input.
        raise _invalid("/output/key", "the result cannot take the place of the input")


def _source(
    submission: Submission, caller: ApiKey, job_id: str, services: Services
) -> dict[str, Any]:
    """Where the worker finds the bytes; an object is pinned to what it is now by its ETag."""
    if submission.image is not None:
        return _store(submission.image, caller, job_id, services)
    assert submission.input is not None  # noqa: S101  # one of the two is there
    if submission.input.url is not None:
        return {"url": submission.input.url}
    key = file_key(caller.tenant, submission.input.key or "")
    stored = services.storage.head(key)
    allowed = services.settings.max_input_bytes
    if stored.bytes > allowed:
        raise InputTooLarge(f"The object has {stored.bytes} bytes; {allowed} are allowed.")
    return _stored(stored)


def _store(image: bytes, caller: ApiKey, job_id: str, services: Services) -> dict[str, Any]:
    settings = services.settings
    found = photos.glance(image)
    photos.check_size(found, max_pixels=settings.max_pixels, max_side_px=settings.max_side_px)
    key = input_key(caller.tenant, job_id)
    stored = services.storage.put(key, image, found.content_type)
    return _stored(stored)


def _stored(found: StoredObject) -> dict[str, Any]:
    return {"key": found.key, "etag": found.etag, "bytes": found.bytes}


def _invalid(where: str, detail: str) -> FacemendError:
    return InvalidRequest("1 field is not valid.", [(where, detail)])
