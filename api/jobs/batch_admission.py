"""Turns a valid request for a batch into an accepted batch: each item alone, then all or nothing.

The manifest is stored first, then the record of the batch: from then on the batch is accepted. Its
jobs are created after that, in steps. If this process dies in between, a notifier creates the rest.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

from api.context import Services
from api.jobs import detected_faces
from api.jobs.admission import (
    abandon,
    check_addresses,
    check_model,
    check_webhook,
    input_file_key,
    known_models,
    new_job,
    pool_for,
    stored_source,
    token_id_of,
)
from api.jobs.submission import Submission
from api.jobs.uploads import check_not_expired, job_of_upload, not_sent, used
from api.payload import validate
from shared.batches.batch import Batch, NewBatch
from shared.contract.batches import BatchRequest
from shared.contract.restorations import RestorationRequest
from shared.errors import (
    FacemendError,
    Forbidden,
    IdempotencyInProgress,
    InputError,
    InputNotFound,
    InvalidRequest,
    NotFound,
    QueueFull,
    Refused,
    RequestError,
    Unavailable,
)
from shared.jobs.job import new_id
from shared.jobs.queues import QueueName
from shared.jobs.record import NewJob
from shared.storage.bucket import StoredObject
from shared.storage.keys import input_key
from shared.telemetry import JOBS_CREATED, current_traceparent
from shared.tenants.api_keys import ApiKey

_log = logging.getLogger(__name__)
#: A JSON document with a thousand items may have this size.
MAX_BATCH_BYTES = 4 * 1024 * 1024
#: Fields of an item that are merged with the defaults, and not replaced.
_MERGED = ("options", "output", "metadata")
#: A batch needs some hundred times the calls of one job, and so more time for all of them.
_DEADLINE_SHARE = 4.0


@dataclass(frozen=True, slots=True)
class BatchAdmission:
    """The batch. ``replayed``: an earlier request with the same Idempotency-Key made it."""

    batch: Batch
    replayed: bool


@dataclass(frozen=True, slots=True)
class _Item:
    """A valid item: its request, the id and pool of its job, and the key of its photo.

    ``key``: None for a photo at a URL. ``detected``: see ``new_job``.
    """

    submission: Submission
    job_id: str
    pool: str
    key: str | None
    detected: dict[str, Any]

    @property
    def is_upload(self) -> bool:
        return self.submission.input is not None and self.submission.input.upload_id is not None


_Checked = _Item | FacemendError


def admit_batch(
    wanted: BatchRequest,
    *,
    caller: ApiKey,
    idempotency_key: str | None,
    services: Services,
    request_id: str = "",
) -> BatchAdmission:
    """Make the batch, once.

    A wrong item is rejected with its problem, and the others are accepted. Raises RequestError for
    the whole; then there is no batch.
    """
    with services.deadline.start(share=_DEADLINE_SHARE):
        _check_whole(wanted, services)
        if idempotency_key is None:
            batch = _accept(wanted, caller, None, services, request_id)
            return BatchAdmission(batch, replayed=False)
        first = services.store.idempotency.begin(
            caller.owner_id, idempotency_key, _fingerprint(wanted)
        )
        if first is not None:
            return BatchAdmission(_replay(first.job_id, caller, services), replayed=True)
        try:
            batch = _accept(wanted, caller, idempotency_key, services, request_id)
        except BaseException:
            abandon(services, caller, idempotency_key)
            raise
        return BatchAdmission(batch, replayed=False)


def _check_whole(wanted: BatchRequest, services: Services) -> None:
    if wanted.webhook is not None:
        check_webhook(wanted.webhook.url, services)
    if wanted.defaults.output.key is not None:
        raise InvalidRequest(
            "1 field is not valid.",
            [("/defaults/output/key", "each result needs a key of its own: set it in the items")],
        )


def _accept(
    wanted: BatchRequest,
    caller: ApiKey,
    idempotency_key: str | None,
    services: Services,
    request_id: str,
) -> Batch:
    batch_id = new_id("bat")
    items = [
        replace(item, batch=batch_id, request_id=request_id, trace=current_traceparent())
        if isinstance(item, NewJob)
        else item.problem()
        for item in _jobs(wanted, caller, services)
    ]
    new = NewBatch(
        id=batch_id,
        tenant=caller.tenant,
        key_id=caller.owner_id,
        items=items,
        webhook_url=wanted.webhook.url if wanted.webhook else None,
        idempotency_key=idempotency_key,
        idempotency_fingerprint=_fingerprint(wanted) if idempotency_key else None,
        token_id=token_id_of(caller),
    )
    services.batch_manifests.write(new)
    try:
        services.batches.open(new)
    except (QueueFull, IdempotencyInProgress, Forbidden, Refused):
        # Only after these errors: after a timeout, the batch may exist and need it.
        services.batch_manifests.remove(new.tenant, new.id)
        raise
    _create_jobs(new, services)
    return services.batches.get(caller.tenant, batch_id)


def _create_jobs(new: NewBatch, services: Services) -> None:
    """Create the jobs. If Redis fails now, a notifier creates the rest: the batch is accepted."""
    try:
        services.batches.create_jobs(
            new.id,
            new.jobs,
            lambda job: services.doorbell.message(job.id, QueueName.of(job)),
        )
    except Unavailable as error:
        _log.warning("the rest of %s is created later: %s", new.id, error.detail)
    for job in new.jobs:
        JOBS_CREATED.labels(model=job.model, priority=job.priority).inc()


def _jobs(wanted: BatchRequest, caller: ApiKey, services: Services) -> list[NewJob | FacemendError]:
    """Return the job of each item, or the error that rejects it. Raises Unavailable."""
    defaults = wanted.defaults.model_dump(mode="json", exclude_unset=True)
    known = known_models(services)
    pools = cache(lambda model: pool_for(model, caller, services))
    checked = [_check(item, defaults, known, pools, caller, services) for item in wanted.items]
    found = services.storage.find(
        {item.key for item in checked if isinstance(item, _Item) and item.key is not None}
    )
    uploads = [item.job_id for item in checked if isinstance(item, _Item) and item.is_upload]
    taken = set(services.store.versions(uploads)) if uploads else set[str]()
    jobs: list[NewJob | FacemendError] = []
    for item in checked:
        jobs.append(_job(item, found, taken, caller, services))
        if isinstance(item, _Item):
            taken.add(item.job_id)
    return jobs


def _check(  # noqa: PLR0917
    item: Mapping[str, Any],
    defaults: Mapping[str, Any],
    known: frozenset[str],
    pools: Callable[[str], str],
    caller: ApiKey,
    services: Services,
) -> _Checked:
    """Make the checks of an item that do not need its photo. Raises Unavailable."""
    try:
        request = validate(RestorationRequest, _merge(defaults, item))
        submission = Submission(request, request.input, image=None)
        if request.model is not None:
            check_model(request.model, known)
        model = request.model or services.settings.default_model
        pool = pools(model)
        services.pools.check(model, pool)
        check_addresses(submission, caller, services)
        detected = detected_faces.of_request(submission, caller, services)
        if request.input.upload_id is not None:
            check_not_expired(request.input.upload_id, services.settings)
            job_id = job_of_upload(request.input.upload_id)
            return _Item(submission, job_id, pool, input_key(caller.tenant, job_id), detected)
        key = input_file_key(request.input.key, caller) if request.input.key else None
        return _Item(submission, new_id("job"), pool, key, detected)
    except Unavailable:
        raise
    except (RequestError, InputError) as error:
        return error


def _job(
    item: _Checked,
    found: Mapping[str, StoredObject],
    taken: set[str],
    caller: ApiKey,
    services: Services,
) -> NewJob | FacemendError:
    if isinstance(item, FacemendError):
        return item
    if item.job_id in taken:
        return used(item.job_id)
    if item.key is None:
        source = {"url": item.submission.input.url if item.submission.input else None}
    elif item.key not in found:
        return not_sent() if item.is_upload else InputNotFound()
    else:
        try:
            source = stored_source(found[item.key], services)
        except InputError as error:
            return error
    return new_job(
        item.submission,
        item.job_id,
        source=source,
        detected=item.detected,
        pool=item.pool,
        caller=caller,
        services=services,
    )


def _merge(defaults: Mapping[str, Any], item: Mapping[str, Any]) -> dict[str, Any]:
    """Return the item with the missing fields of the defaults."""
    merged = {**defaults, **item}
    for name in _MERGED:
        ours, theirs = defaults.get(name), item.get(name)
        if isinstance(ours, dict) and isinstance(theirs, dict):
            merged[name] = ours | theirs
    return merged


def _fingerprint(wanted: BatchRequest) -> str:
    """Equal for requests that mean the same, whatever the order of their fields. Hex."""
    canonical = json.dumps(wanted.model_dump(mode="json"), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()


def _replay(batch_id: str, caller: ApiKey, services: Services) -> Batch:
    try:
        return services.batches.get(caller.tenant, batch_id)
    except NotFound:
        raise NotFound("The batch of this Idempotency-Key has been erased.") from None
