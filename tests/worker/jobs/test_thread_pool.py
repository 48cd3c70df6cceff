"""A place that becomes free is known at once."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

import pytest

from worker.jobs.thread_pool import Pool

_PATIENCE_S = 10


class Loop:
    """In place of Celery's event loop: notes that it was woken, and what was done by then."""

    def __init__(self, done: list[str]) -> None:
        self.woken = threading.Event()
        self.done_before: list[str] = []
        self._done = done

    def call_soon(self, callback: Callable[[], None]) -> None:
        callback()
        self.done_before = list(self._done)
        self.woken.set()


@pytest.fixture
def pool() -> Iterator[Pool]:
    pool = Pool(1)
    pool.start()
    yield pool
    pool.stop()


def test_a_job_that_ends_wakes_the_loop_once_its_place_counts_as_free(pool: Pool) -> None:
    done: list[str] = []
    loop = Loop(done)
    pool.register_with_event_loop(loop)
    pool.apply_async(done.append, ("the job",), callback=lambda _: done.append("its place"))
    assert loop.woken.wait(_PATIENCE_S)
    assert loop.done_before == ["the job", "its place"]


def test_a_job_that_fails_wakes_the_loop_too(pool: Pool) -> None:
    loop = Loop([])
    pool.register_with_event_loop(loop)
    pool.apply_async(int, ("no number",))
    assert loop.woken.wait(_PATIENCE_S)


def test_without_a_loop_jobs_end_as_ever(pool: Pool) -> None:
    done: list[str] = []
    pool.apply_async(done.append, ("the job",), callback=lambda _: None).get(_PATIENCE_S)
    assert done == ["the job"]
