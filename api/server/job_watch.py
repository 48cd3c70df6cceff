"""Who waits for a job: one look at Redis for all of them, ten times a second."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from threading import Event

from shared.errors import Unavailable
from shared.jobs.job import Status
from shared.jobs.store import JobStore

_TICK_S = 0.1
#: Jobs that one script looks at; more would keep Redis from others for longer than 1 ms.
_AT_ONCE = 500


@dataclass(eq=False)
class _Waiter:
    """``satisfied``: whether version and status, None for an erased job, end the wait."""

    satisfied: Callable[[tuple[int, Status] | None], bool]
    gone: Callable[[], bool]
    woken: asyncio.Future[None] = field(
        default_factory=lambda: asyncio.get_running_loop().create_future()
    )

    def wake(self) -> None:
        if not self.woken.done():
            self.woken.set_result(None)


class JobWatch:
    """Lives on one event loop. ``draining``: nobody waits any longer."""

    def __init__(self, store: JobStore, draining: Event) -> None:
        self._store, self._draining = store, draining
        self._waiters: dict[str, set[_Waiter]] = {}
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="watch")
        self._looking: asyncio.Task[None] | None = None

    async def changed(
        self, job_id: str, version: int | None, within_s: float, gone: Callable[[], bool]
    ) -> None:
        """Wait until the job has another version or is erased, ``gone`` holds, or time is up."""
        await self._wait(job_id, within_s, _Waiter(lambda now: not now or now[0] != version, gone))

    async def ended(self, job_id: str, within_s: float, gone: Callable[[], bool]) -> None:
        """Wait until the job has ended or is erased, ``gone`` holds, or time is up."""
        await self._wait(job_id, within_s, _Waiter(lambda now: not now or now[1].terminal, gone))

    def close(self) -> None:
        """Let everybody go on, and look no more."""
        self.wake_all()
        if self._looking is not None:
            self._looking.cancel()
        self._thread.shutdown(wait=False)

    def wake_all(self) -> None:
        """Let everybody go on."""
        for waiters in self._waiters.values():
            for waiter in waiters:
                waiter.wake()

    async def _wait(self, job_id: str, within_s: float, waiter: _Waiter) -> None:
        if self._draining.is_set():
            return
        self._waiters.setdefault(job_id, set()).add(waiter)
        if self._looking is None or self._looking.done():
            self._looking = asyncio.create_task(self._look())
        try:
            async with asyncio.timeout(within_s):
                await waiter.woken
        except TimeoutError:
            pass
        finally:
            self._waiters[job_id].discard(waiter)
            if not self._waiters[job_id]:
                del self._waiters[job_id]

    async def _look(self) -> None:
        loop = asyncio.get_running_loop()
        while self._waiters:
            await asyncio.sleep(_TICK_S)
            job_ids = list(self._waiters)
            for start in range(0, len(job_ids), _AT_ONCE):
                some = job_ids[start : start + _AT_ONCE]
                try:
                    found = await loop.run_in_executor(self._thread, self._store.versions, some)
                except Unavailable:
                    self.wake_all()  # each asks for itself, and says what is the matter
                    break
                self._tell(some, found)

    def _tell(self, job_ids: list[str], found: dict[str, tuple[int, Status]]) -> None:
        for job_id in job_ids:
            now = found.get(job_id)
            for waiter in self._waiters.get(job_id, ()):
                if waiter.satisfied(now) or waiter.gone():
                    waiter.wake()
