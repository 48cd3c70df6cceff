"""Long polls wait for the end of a job, and never hold all threads of the process."""

from __future__ import annotations

import re
import time

from api.context import Services
from shared.jobs.job import Job

_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.1, 0.5
_WAIT = re.compile(r'\bwait\s*=\s*"?(\d{1,6})"?\s*(?:[,;]|$)', re.IGNORECASE)


def preferred_wait_s(header: str) -> int | None:
    """Return N of ``Prefer: wait=N`` (RFC 7240), None without it. Others are no error."""
    found = _WAIT.search(header)
    return int(found[1]) if found else None


def wait_until_terminal(job: Job, wait_s: float, services: Services) -> Job:
    """Return the job when it has ended, or after ``wait_s``, whichever comes first.

    Returns at once if the process drains or all slots for waiting are in use, because other
    requests need the threads. Raises Unavailable, and NotFound if the job is erased.
    """
    if wait_s <= 0 or job.status.terminal or not services.waiting_slots.acquire(blocking=False):
        return job
    try:
        return _poll(job, min(wait_s, services.settings.max_wait_s), services)
    finally:
        services.waiting_slots.release()


def _poll(job: Job, wait_s: float, services: Services) -> Job:
    ends_s = time.monotonic() + wait_s
    pause_s = _FIRST_PAUSE_S
    while not job.status.terminal:
        left_s = ends_s - time.monotonic()
        if left_s <= 0 or services.draining.wait(min(pause_s, left_s)):
            break
        with services.deadline.start():
            job = services.store.get(job.tenant, job.id)
        pause_s = min(_LONGEST_PAUSE_S, pause_s * 1.5)
    return job
