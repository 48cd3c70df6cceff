"""Long polls: a request that waits for a job's end holds a connection, but no thread.

A view that has to wait returns a ``WaitResponse``. The server (``api.server``) keeps it until the
job has ended or time is up, and then calls the view again with ``JobWait.after`` set.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Self

from flask import Response, request

from api.context import Services
from shared.jobs.job import Job

_WAIT = re.compile(r'\bwait\s*=\s*"?(\d{1,6})"?\s*(?:[,;]|$)', re.IGNORECASE)
_ENVIRON = "facemend.wait"


def preferred_wait_s(header: str) -> int | None:
    """Return N of ``Prefer: wait=N`` (RFC 7240), None without it. Others are no error."""
    found = _WAIT.search(header)
    return int(found[1]) if found else None


@dataclass
class JobWait:
    """One request that waits until ``job`` has ended, or ``wait_s`` at most.

    The body of a ``WaitResponse``, which is empty. ``kept``: what the view needs when it goes on.
    """

    job: Job
    wait_s: float
    kept: Any
    services: Services
    holds: bool = True

    @classmethod
    def after(cls) -> Self | None:
        """The wait that is over, if the current request has waited; else None."""
        found: Self | None = request.environ.get(_ENVIRON)
        return found

    def resume(self, environ: dict[str, Any]) -> None:
        """Let the request with this WSGI environment go on after the wait."""
        environ[_ENVIRON] = self

    def close(self) -> None:
        """Give the slot back. The server does it, whatever has happened."""
        if self.holds:
            self.holds = False
            self.services.waiting_slots.release(self.job.tenant)

    def __iter__(self) -> Iterator[bytes]:
        return iter(())


class WaitResponse(Response):
    """Tells the server to wait and to call the view again; never sent to a client."""

    def __init__(self, wait: JobWait) -> None:
        super().__init__(wait, direct_passthrough=True)


def wait_for_end(job: Job, wait_s: float, services: Services, kept: Any = None) -> Response | None:
    """What the view has to return for now; None if there is nothing to wait for.

    Nobody waits while the process drains, or when all slots are taken: waiting is a courtesy.
    """
    if wait_s <= 0 or job.status.terminal or services.draining.is_set() or JobWait.after():
        return None
    if request.method == "HEAD" or not services.waiting_slots.acquire(job.tenant):
        return None
    return WaitResponse(JobWait(job, min(wait_s, services.settings.max_wait_s), kept, services))
