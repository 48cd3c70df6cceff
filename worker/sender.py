"""Many deliveries at once, so that no receiver has to wait for another one.

An endpoint (tenant, scheme, host and port) has at most two connections, and all endpoints that
were slow the last time share half of the threads: what is left always serves the others.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from threading import Lock
from urllib.parse import urlsplit

from shared.store import Delivery

THREADS = 64
PER_ENDPOINT = 2
SLOW_S = 1.0
#: Bounds of what is remembered here; whatever does not fit is taken from the store again later.
MAX_WAITING_PER_ENDPOINT = 200
MAX_ENDPOINTS = 10_000

Endpoint = tuple[str, str, str]


def endpoint(delivery: Delivery) -> Endpoint:
    """Whom a delivery goes to. Tenants do not share one: each has its own two connections."""
    parts = urlsplit(delivery.url)
    return delivery.tenant, parts.scheme, parts.netloc


@dataclass(slots=True)
class _Lane:
    """What waits for one endpoint, with the monotonic time until which it is ours to send."""

    waiting: deque[tuple[Delivery, float]] = field(default_factory=deque)
    in_flight: int = 0


class Sender:
    """Calls ``send`` in threads. ``send`` must not raise; ``offer`` never waits for it.

    Deliveries are leased from the store: one that waited here for more than ``keep_s`` is dropped,
    since another sender may have it by then.
    """

    def __init__(
        self,
        send: Callable[[Delivery], None],
        *,
        keep_s: float,
        threads: int = THREADS,
        slow_s: float = SLOW_S,
    ) -> None:
        self._send = send
        self._keep_s = keep_s
        self._threads = threads
        self._slow_s = slow_s
        self._pool = ThreadPoolExecutor(threads, "send")
        self._lock = Lock()
        self._lanes: dict[Endpoint, _Lane] = {}
        self._slow: set[Endpoint] = set()
        self._in_flight = 0
        self._slow_in_flight = 0
        self._closed = False

    @property
    def in_flight(self) -> int:
        return self._in_flight

    def offer(self, delivery: Delivery) -> None:
        """Send it as soon as its endpoint's turn comes; what is too much is dropped."""
        with self._lock:
            self._put(delivery, time.monotonic() + self._keep_s)
            self._start_all()

    def close(self) -> None:
        """Start nothing more and wait for what is in flight."""
        with self._lock:
            self._closed = True
        self._pool.shutdown()

    def _put(self, delivery: Delivery, until: float) -> None:
        key = endpoint(delivery)
        if key not in self._lanes and len(self._lanes) >= MAX_ENDPOINTS:
            return
        lane = self._lanes.setdefault(key, _Lane())
        if len(lane.waiting) < MAX_WAITING_PER_ENDPOINT:
            lane.waiting.append((delivery, until))

    def _start_all(self) -> None:
        """Start what may start, the endpoint first that was not served for longest.

        Called with the lock held.
        """
        for key in list(self._lanes):
            lane = self._lanes[key]
            while lane.waiting and self._may_start(key, lane):
                delivery, until = lane.waiting.popleft()
                if until > time.monotonic():
                    self._start(key, lane, delivery)
                    self._lanes[key] = self._lanes.pop(key)  # to the end of the turn
            if not lane.waiting and not lane.in_flight:
                del self._lanes[key]

    def _may_start(self, key: Endpoint, lane: _Lane) -> bool:
        if self._closed or self._in_flight >= self._threads or lane.in_flight >= PER_ENDPOINT:
            return False
        return key not in self._slow or self._slow_in_flight < self._threads // 2

    def _start(self, key: Endpoint, lane: _Lane, delivery: Delivery) -> None:
        slow = key in self._slow
        lane.in_flight += 1
        self._in_flight += 1
        self._slow_in_flight += slow
        self._pool.submit(self._run, key, lane, delivery, slow=slow)

    def _run(self, key: Endpoint, lane: _Lane, delivery: Delivery, *, slow: bool) -> None:
        started = time.monotonic()
        try:
            self._send(delivery)
        finally:
            with self._lock:
                lane.in_flight -= 1
                self._in_flight -= 1
                self._slow_in_flight -= slow
                self._judge(key, time.monotonic() - started)
                self._start_all()

    def _judge(self, key: Endpoint, took_s: float) -> None:
        if took_s <= self._slow_s:
            self._slow.discard(key)
        elif len(self._slow) < MAX_ENDPOINTS:
            self._slow.add(key)
