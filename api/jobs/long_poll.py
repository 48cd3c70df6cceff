"""Long polls: wait for a job's end without ever taking all the threads of the process."""

from __future__ import annotations

import re
import time

from api.context import Services
from shared.jobs.job import Job

_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.1, 0.5
_WAIT = re.compile(r'\bwait\s*=\s*"?(\d{1,6})"?\s*(?:[,;]|$)', re.IGNORECASE)


def preferred_wait_s(header: str) -> int | None:
    """N of ``Prefer: wait=N`` (RFC 7240); a preference that we do not understand is no error."""
    found = _WAIT.search(header)
    return int(found[1]) if found else None


def wait_until_terminal(job: Job, wait_s: float, services: Services) -> Job:
    """The job as it is when it has ended, or after ``wait_s``, whichever comes first.

    Answers at once when the process drains or all places to wait are taken: waiting is a courtesy,
    and other requests need threads. Raises Unavailable, and NotFound when the job is erased.
    """
    if wait_s <= 0 or job.status.terminal or not services.waiting_places.acquire(blocking=False):
        return job
    try:
        return _poll(job, min(wait_s, services.settings.max_wait_s), services)
    finally:
        services.waiting_places.release()


def _poll(job: Job, wait_s: float, services: Services) -> Job:
    give_up_s = time.monotonic() + wait_s
    pause_s = _FIRST_PAUSE_S
    while not job.status.terminal:
        left_s = give_up_s - time.monotonic()
        if left_s <= 0 or services.draining.wait(min(pause_s, left_s)):
            break
        with services.patience.fresh():
            job = services.store.get(job.tenant, job.id)
        pause_s = min(_LONGEST_PAUSE_S, pause_s * 1.5)
    return job
