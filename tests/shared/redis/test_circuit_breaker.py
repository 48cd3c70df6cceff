"""After several timeouts of a server, requests do not wait for it."""

from __future__ import annotations

import time
from contextlib import ExitStack

import pytest

from shared.errors import FacemendError, Internal, Unavailable
from shared.redis.request_deadline import RequestDeadline, waiting


def fail(error: FacemendError, after_s: float = 0.0) -> None:
    """Wait like a call, then raise ``error``."""
    time.sleep(after_s)
    raise error


def time_out() -> None:
    """Make one call that times out."""
    with pytest.raises(Unavailable), waiting("redis"):
        fail(Unavailable("it did not answer"), after_s=0.25)


def test_after_three_timeouts_calls_fail_at_once() -> None:
    deadline = RequestDeadline(5.0)
    for _ in range(3):
        with deadline.start():
            time_out()
    with deadline.start():
        with pytest.raises(Unavailable), waiting("redis"):
            pytest.fail("the call would wait again")
        with waiting("s3"):
            pass  # the other server has a breaker of its own


def test_one_call_a_second_tries_again_and_its_success_closes_the_circuit() -> None:
    deadline = RequestDeadline(5.0)
    for _ in range(3):
        with deadline.start():
            time_out()
    time.sleep(1.05)
    with ExitStack() as trying:
        trying.enter_context(deadline.start())
        trying.enter_context(waiting("redis"))
        with deadline.start(), pytest.raises(Unavailable), waiting("redis"):
            pytest.fail("one call is enough to try")
    with deadline.start(), waiting("redis"):
        pass
    with deadline.start(), waiting("redis"):
        pass


def test_refused_connections_and_internal_errors_do_not_open_the_circuit() -> None:
    deadline = RequestDeadline(5.0)
    for _ in range(4):
        with deadline.start(), pytest.raises(Unavailable), waiting("redis"):
            fail(Unavailable("refused at once"))
        with deadline.start(), pytest.raises(Internal), waiting("redis"):
            fail(Internal("slow, but it answered"), after_s=0.25)
    with deadline.start(), waiting("redis"):
        pass


def test_a_success_resets_the_count() -> None:
    deadline = RequestDeadline(5.0)
    for _ in range(2):
        for _ in range(2):
            with deadline.start():
                time_out()
        with deadline.start(), waiting("redis"):
            pass
    with deadline.start(), waiting("redis"):
        pass
