"""Erasing a job: its record and all objects that were made for it."""

from __future__ import annotations

import contextlib
import logging

from api.context import Services
from shared.errors import Conflict, Unavailable
from shared.jobs.job import Status
from shared.storage.keys import job_prefixes

_log = logging.getLogger(__name__)


def erase(tenant: str, job_id: str, found: Services) -> None:
    """Cancel it, delete its objects, then its record.

    In this order: when the storage is away, the record stays and the same call can be made again.
    A run that is still going on is fenced with the record, so what it wrote until then is deleted
    last. Raises NotFound, Unavailable.
    """
    job = found.store.get(tenant, job_id)
    with contextlib.suppress(Conflict):  # it has ended: nothing to cancel
        job = found.store.cancel(tenant, job_id)
    _delete_objects(tenant, job_id, found)
    found.manifests.remove_all(tenant, job_id)
    if Status.RUNNING in {job.status, found.store.erase(tenant, job_id)}:
        try:
            _delete_objects(tenant, job_id, found)
        except Unavailable:
            # The record is gone, so the call cannot be repeated: the sweep finds what is left.
            _log.warning("objects of an erased job are left to the sweep")


def _delete_objects(tenant: str, job_id: str, found: Services) -> None:
    for prefix in job_prefixes(tenant, job_id):
        found.storage.delete([stored.key for stored in found.storage.list(prefix)])
