"""The delivery scheduler: sends many deliveries in parallel, so that no receiver delays another.

Each receiver has a lane and at most two connections; a new one has only one. Its last attempt
decides whether it shares the threads of quick, slow or new receivers. If a quick one takes longer
than a second, it no longer counts against the quick threads.
"""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from enum import Enum, auto
from threading import Lock

from shared.webhooks.outbox import Delivery

THREADS = 64
SLOW_S = 1.0
#: A lane with so many waiting deliveries is full; the rest stays in Redis.
FULL = 100
#: The number of receivers whose pace is remembered.
MAX_KNOWN = 10_000


@dataclass(slots=True)
class _Lane:
    """The deliveries that wait for one receiver, each with the end of its lease (monotonic)."""

    waiting: deque[tuple[Delivery, float]] = field(default_factory=deque)
    in_flight: int = 0


class _Pace(Enum):
    """The pace of a receiver at its last attempt."""

    NEW = auto()
    QUICK = auto()
    SLOW = auto()


_CONNECTIONS = {_Pace.NEW: 1, _Pace.QUICK: 2, _Pace.SLOW: 2}


@dataclass(slots=True, eq=False)
class _Attempt:
    """``pace``: that of the receiver when the attempt began."""

    lane: str
    pace: _Pace
    since: float


class DeliveryScheduler:
    """Calls ``send`` in threads. ``send`` must not raise; ``schedule`` never waits for it.

    Deliveries are leased. One that waited here for more than ``keep_s`` is dropped, because another
    notifier may have it by then.
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
        self._share = {
            _Pace.NEW: threads,
            _Pace.QUICK: threads,
            _Pace.SLOW: max(1, threads // 2),
        }
        self._max_attempts = 4 * threads
        self._slow_s = slow_s
        self._pool = ThreadPoolExecutor(self._max_attempts, "delivery")
        self._lock = Lock()
        self._lanes: dict[str, _Lane] = {}
        self._paces: dict[str, _Pace] = {}
        self._attempts: set[_Attempt] = set()
        self._closed = False

    @property
    def in_flight(self) -> int:
        return len(self._attempts)

    def full_lanes(self) -> list[str]:
        """Return the lanes that are full."""
        with self._lock:
            return [key for key, lane in self._lanes.items() if len(lane.waiting) >= FULL]

    def schedule(self, deliveries: Iterable[Delivery]) -> None:
        """Send each delivery as soon as its receiver's turn comes.

        Call it regularly even without deliveries, because time alone may free a thread.
        """
        with self._lock:
            until = time.monotonic() + self._keep_s
            for delivery in deliveries:
                self._lanes.setdefault(delivery.lane, _Lane()).waiting.append((delivery, until))
            self._start_all()

    def close(self) -> None:
        """Start no more attempts, and wait for the running ones."""
        with self._lock:
            self._closed = True
        self._pool.shutdown()

    def _start_all(self) -> None:
        """Start attempts; the receiver that waited longest is first. Called with the lock held."""
        room = self._room()
        for key in list(self._lanes):
            left = self._max_attempts - len(self._attempts)
            if self._closed or not left or not any(room.values()):
                return
            pace = self._paces.get(key, _Pace.NEW)
            room[pace] -= self._start_some(key, pace, min(room[pace], left))

    def _room(self) -> dict[_Pace, int]:
        """Return how many attempts of each pace may start now."""
        stuck_since = time.monotonic() - self._slow_s
        taken = Counter(
            each.pace
            for each in self._attempts
            if each.pace is not _Pace.QUICK or each.since > stuck_since
        )
        return {pace: max(0, share - taken[pace]) for pace, share in self._share.items()}

    def _start_some(self, key: str, pace: _Pace, room: int) -> int:
        """Start up to ``room`` attempts for one receiver; return their number."""
        lane, started = self._lanes[key], 0
        while lane.waiting and lane.in_flight < _CONNECTIONS[pace] and started < room:
            delivery, until = lane.waiting.popleft()
            if until > time.monotonic():
                lane.in_flight += 1
                started += 1
                attempt = _Attempt(key, pace, time.monotonic())
                self._attempts.add(attempt)
                self._pool.submit(self._run, attempt, lane, delivery)
        if started:
            self._lanes[key] = self._lanes.pop(key)  # it is last in the next turn
        elif not lane.waiting and not lane.in_flight:
            del self._lanes[key]
        return started

    def _run(self, attempt: _Attempt, lane: _Lane, delivery: Delivery) -> None:
        try:
            self._send(delivery)
        finally:
            with self._lock:
                lane.in_flight -= 1
                self._attempts.remove(attempt)
                self._note_pace(attempt)
                self._start_all()

    def _note_pace(self, ended: _Attempt) -> None:
        self._paces.pop(ended.lane, None)
        if len(self._paces) >= MAX_KNOWN:
            del self._paces[next(iter(self._paces))]  # the one without an attempt for longest
        slow = time.monotonic() - ended.since > self._slow_s
        self._paces[ended.lane] = _Pace.SLOW if slow else _Pace.QUICK
