"""Threads that run the application, shared fairly: one client's flood does not delay the others."""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, TypeVar

Result = TypeVar("Result")


class FairThreads:
    """Runs calls in threads. Clients take turns; used on one event loop.

    A client that is alone may use every thread. While others run or wait too, each has a quarter of
    the threads at most: the interpreter runs one thread at a time, so calls of one client in all
    threads would slow the others down even if a thread were free for them.
    """

    def __init__(self, threads: int) -> None:
        self._executor = ThreadPoolExecutor(threads, thread_name_prefix="request")
        self._threads = threads
        self._share = max(1, threads // 4)
        self._running: Counter[str] = Counter()
        #: What waits, by client; the client whose turn is next comes first.
        self._waiting: dict[str, deque[asyncio.Future[None]]] = {}

    async def run(self, client: str, call: Callable[..., Result], *args: Any) -> Result:
        """Return what ``call`` returns. A call that has begun runs to its end, even if canceled."""
        if not self._waiting and self._running.total() < self._threads and self._may_start(client):
            self._running[client] += 1
        else:
            await self._turn(client)
        running = asyncio.get_running_loop().run_in_executor(self._executor, call, *args)
        running.add_done_callback(partial(self._ended, client))
        return await running

    async def _turn(self, client: str) -> None:
        """Wait until the client may use one more thread, which is counted then."""
        turn = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(client, deque()).append(turn)
        self._start()
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self._end(client)
            raise

    @property
    def running(self) -> int:
        """The number of calls that run."""
        return sum(list(self._running.values()))  # a copy: any thread may ask

    @property
    def waiting(self) -> int:
        """The number of calls that wait for a thread."""
        return sum(map(len, list(self._waiting.values())))

    def close(self) -> None:
        """Start nothing new. Calls that run end by themselves."""
        self._executor.shutdown(wait=False, cancel_futures=True)

    def _start(self) -> None:
        """Let those begin whose turn it is."""
        while self._running.total() < self._threads:
            client = next((each for each in self._waiting if self._may_start(each)), None)
            if client is None:
                return
            turns = self._waiting.pop(client)
            turn = turns.popleft()
            if turns:
                self._waiting[client] = turns  # behind all others
            if not turn.done():
                self._running[client] += 1
                turn.set_result(None)

    def _may_start(self, client: str) -> bool:
        alone = self._waiting.keys() | self._running.keys() <= {client}
        return alone or self._running[client] < self._share

    def _ended(self, client: str, _: asyncio.Future[Any]) -> None:
        self._end(client)

    def _end(self, client: str) -> None:
        self._running[client] -= 1
        if not self._running[client]:
            del self._running[client]
        self._start()
