"""Many deliveries at once, so that no receiver has to wait for another one.

A receiver has a lane, and at most two connections; one that we know nothing of, only one. How it
did the last time decides whose threads it shares: those of quick receivers, of slow ones or of new
ones. A quick one that gets stuck gives its thread's place back after a second.
"""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from enum import Enum, auto
from threading import Lock

from shared.jobs.store import Delivery

THREADS = 64
SLOW_S = 1.0
#: A lane with so many waiting is full: the rest is better kept by the store.
FULL = 100
#: Receivers whose pace is remembered.
MAX_KNOWN = 10_000


@dataclass(slots=True)
class _Lane:
    """What waits for one receiver, with the monotonic time until which it is ours to send."""

    waiting: deque[tuple[Delivery, float]] = field(default_factory=deque)
    in_flight: int = 0


class _Pace(Enum):
    """How a receiver did the last time."""

    NEW = auto()
    QUICK = auto()
    SLOW = auto()


_CONNECTIONS = {_Pace.NEW: 1, _Pace.QUICK: 2, _Pace.SLOW: 2}


@dataclass(slots=True, eq=False)
class _Try:
    """``pace`` is what was known of the receiver when it began."""

    lane: str
    pace: _Pace
    since: float


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
        self._share = {
            _Pace.NEW: threads,
            _Pace.QUICK: threads,
            _Pace.SLOW: max(1, threads // 2),
        }
        self._most = 4 * threads
        self._slow_s = slow_s
        self._pool = ThreadPoolExecutor(self._most, "send")
        self._lock = Lock()
        self._lanes: dict[str, _Lane] = {}
        self._paces: dict[str, _Pace] = {}
        self._tries: set[_Try] = set()
        self._closed = False

    @property
    def in_flight(self) -> int:
        return len(self._tries)

    def full(self) -> list[str]:
        """Lanes in which enough are waiting."""
        with self._lock:
            return [key for key, lane in self._lanes.items() if len(lane.waiting) >= FULL]

    def offer(self, deliveries: Iterable[Delivery]) -> None:
        """Send each as soon as its receiver's turn comes.

        To be called now and then even with nothing: time alone may make room.
        """
        with self._lock:
            until = time.monotonic() + self._keep_s
            for delivery in deliveries:
                self._lanes.setdefault(delivery.lane, _Lane()).waiting.append((delivery, until))
            self._start_all()

    def close(self) -> None:
        """Start nothing more and wait for what is in flight."""
        with self._lock:
            self._closed = True
        self._pool.shutdown()

    def _start_all(self) -> None:
        """Start what may start, the receiver first that was not served for longest.

        Called with the lock held.
        """
        room = self._room()
        for key in list(self._lanes):
            left = self._most - len(self._tries)
            if self._closed or not left or not any(room.values()):
                return
            pace = self._paces.get(key, _Pace.NEW)
            room[pace] -= self._start_some(key, pace, min(room[pace], left))

    def _room(self) -> dict[_Pace, int]:
        """How many more tries of each pace may start now."""
        stuck_since = time.monotonic() - self._slow_s
        taken = Counter(
            each.pace
            for each in self._tries
            if each.pace is not _Pace.QUICK or each.since > stuck_since
        )
        return {pace: max(0, share - taken[pace]) for pace, share in self._share.items()}

    def _start_some(self, key: str, pace: _Pace, room: int) -> int:
        """Start what one receiver may have of ``room``; the number of tries."""
        lane, started = self._lanes[key], 0
        while lane.waiting and lane.in_flight < _CONNECTIONS[pace] and started < room:
            delivery, until = lane.waiting.popleft()
            if until > time.monotonic():
                lane.in_flight += 1
                started += 1
                this = _Try(key, pace, time.monotonic())
                self._tries.add(this)
                self._pool.submit(self._run, this, lane, delivery)
        if started:
            self._lanes[key] = self._lanes.pop(key)  # to the end of the turn
        elif not lane.waiting and not lane.in_flight:
            del self._lanes[key]
        return started

    def _run(self, this: _Try, lane: _Lane, delivery: Delivery) -> None:
        try:
            self._send(delivery)
        finally:
            with self._lock:
                lane.in_flight -= 1
                self._tries.remove(this)
                self._judge(this)
                self._start_all()

    def _judge(self, ended: _Try) -> None:
        self._paces.pop(ended.lane, None)
        if len(self._paces) >= MAX_KNOWN:
            del self._paces[next(iter(self._paces))]  # not heard of for longest
        slow = time.monotonic() - ended.since > self._slow_s
        self._paces[ended.lane] = _Pace.SLOW if slow else _Pace.QUICK
