"""Threads for the application: clients take turns, and nobody is forgotten."""

from __future__ import annotations

import asyncio
import threading

import pytest

from api.server.fair_threads import FairThreads


class Calls:
    """Calls that wait until they are let go; notes who runs and in which order they began."""

    def __init__(self) -> None:
        self.begun: list[str] = []
        self.go = threading.Event()
        self._changed = threading.Condition()

    def wait(self, client: str) -> str:
        with self._changed:
            self.begun.append(client)
            self._changed.notify_all()
        assert self.go.wait(30)
        return client

    def until(self, count: int) -> None:
        with self._changed:
            assert self._changed.wait_for(lambda: len(self.begun) >= count, 30)


async def flood(
    threads: FairThreads, calls: Calls, client: str, count: int
) -> list[asyncio.Task[str]]:
    tasks = [asyncio.create_task(threads.run(client, calls.wait, client)) for _ in range(count)]
    await asyncio.sleep(0)
    return tasks


def test_a_client_that_is_alone_uses_every_thread() -> None:
    async def story() -> None:
        threads, calls = FairThreads(8), Calls()
        tasks = await flood(threads, calls, "a", 20)
        await asyncio.to_thread(calls.until, 8)
        assert len(calls.begun) == 8
        calls.go.set()
        assert await asyncio.gather(*tasks) == ["a"] * 20
        threads.close()

    asyncio.run(story())


def test_a_client_does_not_wait_behind_the_flood_of_another() -> None:
    async def story() -> None:
        threads, calls = FairThreads(4), Calls()
        flooding = await flood(threads, calls, "flood", 100)
        await asyncio.to_thread(calls.until, 4)
        others = await flood(threads, calls, "other", 3)
        calls.go.set()
        await asyncio.gather(*others)
        done_before = sum(task.done() for task in flooding)
        assert done_before < 20
        assert calls.begun[4] == "other"
        await asyncio.gather(*flooding)
        threads.close()

    asyncio.run(story())


def test_beside_others_a_client_has_a_quarter_of_the_threads() -> None:
    async def story() -> None:
        threads, calls = FairThreads(8), Calls()
        other = await flood(threads, calls, "other", 1)
        await asyncio.to_thread(calls.until, 1)
        flooding = await flood(threads, calls, "flood", 50)
        await asyncio.to_thread(calls.until, 3)
        await asyncio.sleep(0.05)
        assert calls.begun == ["other", "flood", "flood"]
        calls.go.set()
        await asyncio.gather(*other, *flooding)
        threads.close()

    asyncio.run(story())


def test_who_is_gone_before_the_turn_leaves_the_place_to_others() -> None:
    async def story() -> None:
        threads, calls = FairThreads(1), Calls()
        (first,) = await flood(threads, calls, "a", 1)
        (gone,) = await flood(threads, calls, "b", 1)
        (last,) = await flood(threads, calls, "c", 1)
        gone.cancel()
        calls.go.set()
        assert await asyncio.gather(first, last) == ["a", "c"]
        threads.close()

    asyncio.run(story())


def test_an_error_of_a_call_reaches_the_caller_and_frees_the_place() -> None:
    async def story() -> None:
        threads = FairThreads(1)
        with pytest.raises(ZeroDivisionError):
            await threads.run("a", lambda: 1 // 0)
        assert await threads.run("a", lambda: 7) == 7
        threads.close()

    asyncio.run(story())
