from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from typing import Any

import pytest

from api.server.job_watch import JobWatch
from shared.errors import Unavailable
from shared.jobs.job import Priority, Status
from shared.jobs.record import NewJob
from shared.jobs.store import JobStore

JOBS = [f"job_{number:032x}" for number in range(3)]
AGES = 3600.0


class Looks:
    """The versions of a store, and how often somebody has looked at how many."""

    def __init__(self, store: JobStore) -> None:
        self._store = store
        self.sizes: list[int] = []
        self.fails = False

    def versions(self, job_ids: Sequence[str]) -> dict[str, tuple[int, Status]]:
        self.sizes.append(len(job_ids))
        if self.fails:
            raise Unavailable
        return self._store.versions(job_ids)


@pytest.fixture
def looks(store: JobStore) -> Looks:
    for job_id in JOBS:
        store.create(NewJob(job_id, "acme", "key_1", "m", Priority.NORMAL, {}, {"key": "k"}))
    return Looks(store)


def watched(looks: Looks, steps: Any) -> None:
    """Run ``steps`` with a watch."""

    async def run() -> None:
        source: Any = looks
        async with asyncio.timeout(60):
            await steps(JobWatch(source, threading.Event()))

    asyncio.run(run())


def stays() -> bool:
    return False


def test_everybody_who_waits_for_a_job_hears_of_its_end(looks: Looks, store: JobStore) -> None:
    async def steps(watch: JobWatch) -> None:
        waiting = [asyncio.create_task(watch.ended(JOBS[0], AGES, stays)) for _ in range(50)]
        other = asyncio.create_task(watch.ended(JOBS[1], AGES, stays))
        await asyncio.sleep(0)
        store.cancel("acme", JOBS[0])
        await asyncio.gather(*waiting)
        assert not other.done()
        other.cancel()

    watched(looks, steps)
    assert set(looks.sizes) == {2}  # one look for all of them


def test_a_new_version_wakes_those_who_have_an_older_one(looks: Looks, store: JobStore) -> None:
    async def steps(watch: JobWatch) -> None:
        version, _ = store.versions(JOBS)[JOBS[0]]
        await watch.changed(JOBS[0], version - 1, AGES, stays)
        waiting = asyncio.create_task(watch.changed(JOBS[0], version, AGES, stays))
        await asyncio.sleep(0.3)
        assert not waiting.done()
        store.runs.claim(JOBS[0], "worker-1")
        await waiting

    watched(looks, steps)


def test_an_erased_job_ends_the_wait(looks: Looks, store: JobStore) -> None:
    async def steps(watch: JobWatch) -> None:
        store.erase("acme", JOBS[0])
        await watch.ended(JOBS[0], AGES, stays)

    watched(looks, steps)


def test_who_is_gone_waits_no_longer(looks: Looks) -> None:
    async def steps(watch: JobWatch) -> None:
        await watch.ended(JOBS[0], AGES, lambda: True)

    watched(looks, steps)


def test_nobody_waits_longer_than_asked(looks: Looks) -> None:
    async def steps(watch: JobWatch) -> None:
        await watch.ended(JOBS[0], 0.01, stays)

    watched(looks, steps)


def test_when_redis_is_away_everybody_asks_for_themselves(looks: Looks) -> None:
    looks.fails = True

    async def steps(watch: JobWatch) -> None:
        await watch.ended(JOBS[0], AGES, stays)

    watched(looks, steps)


def test_nobody_looks_when_nobody_waits(looks: Looks) -> None:
    async def steps(watch: JobWatch) -> None:
        await watch.ended(JOBS[0], AGES, lambda: True)
        count = len(looks.sizes)
        await asyncio.sleep(0.5)
        assert len(looks.sizes) <= count + 1

    watched(looks, steps)
