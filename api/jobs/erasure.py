"""Erases a job: its record and all objects that were made for it."""

from __future__ import annotations

import contextlib
import logging

from api.context import Services
from shared.errors import Conflict, Unavailable
from shared.jobs.job import Status
from shared.storage.keys import job_prefixes

_log = logging.getLogger(__name__)
#: A batch needs many times the calls of one job, and so more time for all of them.
_BATCH_SHARE = 4.0


def erase(tenant: str, job_id: str, services: Services) -> None:
    """Cancel the job, delete its objects, then its record. Raises NotFound, Unavailable.

    If the storage is unavailable, the record stays, and the call can be repeated. A run that is
    still active can store objects until its record is gone, so these are deleted last.
    """
    job = services.store.get(tenant, job_id)
    with contextlib.suppress(Conflict):  # it has ended: there is nothing to cancel
        job = services.store.cancel(tenant, job_id)
    _delete_objects(tenant, job_id, services)
    services.manifests.remove_all(tenant, job_id)
    if job.batch is not None:
        services.batch_manifests.erase_item(tenant, job.batch, job_id)
    if Status.RUNNING in {job.status, services.store.erase(tenant, job_id)}:
        try:
            _delete_objects(tenant, job_id, services)
        except Unavailable:
            # The record is gone, so the call cannot be repeated. The sweeper deletes the rest.
            _log.warning("objects of an erased job are left to the sweeper")


def erase_batch(tenant: str, batch_id: str, services: Services) -> None:
    """Erase the records of a batch and its jobs. Raises NotFound, Unavailable.

    If Redis fails after the record of the batch is gone, a notifier erases the jobs. It also
    deletes all objects.
    """
    with services.deadline.start(share=_BATCH_SHARE):
        job_ids = services.batches.erase(tenant, batch_id)
        services.batch_manifests.remove(tenant, batch_id)
        try:
            for job_id in job_ids:
                services.store.erase(tenant, job_id)
        except Unavailable:
            _log.warning("jobs of an erased batch are left to the notifier")


def _delete_objects(tenant: str, job_id: str, services: Services) -> None:
    for prefix in job_prefixes(tenant, job_id):
        services.storage.delete([stored.key for stored in services.storage.list(prefix)])
