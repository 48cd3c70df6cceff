"""The places of a worker: how many jobs use its device, and how many photos it fetches ahead.

A photo at a customer's URL may take a minute to arrive. A job that waits for one has a fetch place;
it gets a device place only when the photo is here. So slow servers never keep the device idle, and
one tenant or one host cannot have all fetch places.
"""

from __future__ import annotations

import threading
from collections import Counter, deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import Enum

from shared.jobs.runs import Claim, Places
from shared.net.fetcher import host_of
from shared.settings import Settings

_POLL_S = 0.25


class Line(Enum):
    """Who waits for a device place: a doorbell, which then claims a job, or a fetched photo."""

    DOORBELL = "doorbell"
    FETCHED = "fetched"


class DevicePlaces:
    """The places of the jobs that decode, restore and publish.

    The two lines take turns while both wait. In a line, who came first is first.
    """

    def __init__(self, count: int) -> None:
        self.count = count
        self._in_use: Counter[Line] = Counter()
        self._waiting: dict[Line, deque[object]] = {line: deque() for line in Line}
        self._last = Line.FETCHED
        self._changed = threading.Condition()
        #: Called when a job frees its place.
        self.on_free: Callable[[], None] = lambda: None

    @contextmanager
    def hold(self, line: Line, check: Callable[[], None] = lambda: None) -> Iterator[None]:
        """Wait for a place, and keep it for the block. ``check`` may raise to stop the wait."""
        self._enter(line, check)
        try:
            yield
        finally:
            with self._changed:
                self._in_use[line] -= 1
                self._changed.notify_all()
            self.on_free()

    @property
    def for_doorbells(self) -> int:
        """How many doorbells may be heard at once: one at least, which then waits for its turn."""
        return max(1, self.count - self._in_use[Line.FETCHED])

    @property
    def in_use(self) -> int:
        """The number of jobs that have a place now."""
        return self._in_use.total()

    def _enter(self, line: Line, check: Callable[[], None]) -> None:
        ticket, waiting = object(), self._waiting[line]
        with self._changed:
            waiting.append(ticket)
            try:
                while not self._is_next(ticket, line):
                    check()
                    self._changed.wait(_POLL_S)
                self._in_use[line] += 1
                self._last = line
            finally:
                waiting.remove(ticket)
                self._changed.notify_all()

    def _is_next(self, ticket: object, line: Line) -> bool:
        if self._in_use.total() >= self.count or self._waiting[line][0] is not ticket:
            return False
        others = any(waiting for other, waiting in self._waiting.items() if other is not line)
        return not others or self._last is not line


class FetchPlaces:
    """The places of the jobs whose photo is being fetched, limited for each tenant and host.

    ``claiming`` must be held from ``available`` to ``add``, so that no limit is exceeded.
    """

    def __init__(self, *, total: int, per_tenant: int, per_host: int) -> None:
        self._total, self._per_tenant, self._per_host = total, per_tenant, per_host
        self._fetching: dict[str, tuple[str, str]] = {}  # tenant and host by lease token
        self._lock = threading.Lock()
        self.claiming = threading.Lock()

    @classmethod
    def of(cls, settings: Settings) -> FetchPlaces:
        return cls(
            total=settings.fetches_in_flight,
            per_tenant=settings.fetches_per_tenant,
            per_host=settings.fetches_per_host,
        )

    @property
    def count(self) -> int:
        """The number of places."""
        return self._total

    @property
    def in_use(self) -> int:
        """The number of photos that are being fetched now."""
        return len(self._fetching)

    def available(self, *, stored: bool) -> Places:
        """Return for which jobs there is a place. ``stored``: also for photos in the storage."""
        with self._lock:
            tenants = Counter(tenant for tenant, _ in self._fetching.values())
            hosts = Counter(host for _, host in self._fetching.values())
            return Places(
                stored=stored,
                urls=len(self._fetching) < self._total,
                full_tenants=tuple(k for k, n in tenants.items() if n >= self._per_tenant),
                full_hosts=tuple(k for k, n in hosts.items() if n >= self._per_host),
            )

    def add(self, claim: Claim) -> None:
        """Give a place to a job whose photo is at a URL."""
        with self._lock:
            place = (claim.job.tenant, host_of(claim.job.source["url"]))
            self._fetching[claim.token] = place

    def free(self, claim: Claim) -> bool:
        """Free the place of the job; return whether it had one."""
        with self._lock:
            return self._fetching.pop(claim.token, None) is not None
