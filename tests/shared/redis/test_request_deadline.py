"""One budget for all that a request waits for, and parts that are known to be silent."""

from __future__ import annotations

import time
from contextlib import ExitStack

import pytest

from shared.errors import FacemendError, Internal, Unavailable
from shared.redis.request_deadline import Patience, limit_s, waiting


def fail(error: FacemendError, after_s: float = 0.0) -> None:
    """One call that waits, and then this."""
    time.sleep(after_s)
    raise error


def silence() -> None:
    """One call that waits in vain."""
    with pytest.raises(Unavailable), waiting("redis"):
        fail(Unavailable("it did not answer"), after_s=0.25)


def test_without_a_budget_nothing_is_limited() -> None:
    with waiting("redis"):
        assert limit_s(7.0) == 7.0
    assert limit_s(7.0) == 7.0


def test_all_waits_of_a_request_come_out_of_one_budget() -> None:
    with Patience(0.3).fresh():
        with waiting("redis"):
            time.sleep(0.2)
        with waiting("s3"):
            assert 0 < limit_s(7.0) <= 0.1
            time.sleep(0.15)
        with pytest.raises(Unavailable), waiting("redis"):
            pytest.fail("there was nothing left to wait")


def test_what_a_request_does_meanwhile_costs_nothing() -> None:
    with Patience(0.2).fresh():
        time.sleep(0.3)  # reads a body
        with waiting("redis"):
            assert limit_s(7.0) > 0.1


def test_time_goes_on_while_it_is_waited_for() -> None:
    with Patience(1.0).fresh(), waiting("redis"):
        before = limit_s(7.0)
        time.sleep(0.05)
        assert limit_s(7.0) < before


def test_each_block_has_a_budget_of_its_own() -> None:
    patience = Patience(0.2)
    with patience.fresh():
        with waiting("redis"):
            time.sleep(0.2)
        with patience.fresh(), waiting("redis"):
            assert limit_s(7.0) > 0.1
        with pytest.raises(Unavailable), waiting("redis"):
            pytest.fail("the outer budget was spent")


def test_a_wait_inside_a_wait_is_counted_once() -> None:
    with Patience(1.0).fresh():
        with waiting("redis"), waiting("redis"):
            time.sleep(0.1)
        with waiting("redis"):
            assert 0.7 < limit_s(7.0) < 0.95


def test_a_limit_is_never_zero_for_sockets_read_that_as_none() -> None:
    with Patience(0.01).fresh(), waiting("redis"):
        time.sleep(0.02)
        assert limit_s(7.0) > 0


def test_a_part_that_was_silent_three_times_is_not_waited_for_any_more() -> None:
    patience = Patience(5.0)
    for _ in range(3):
        with patience.fresh():
            silence()
    with patience.fresh():
        with pytest.raises(Unavailable), waiting("redis"):
            pytest.fail("everybody would wait again")
        with waiting("s3"):
            pass  # the other part has a fuse of its own


def test_one_call_in_a_while_tries_again_and_opens_the_way_for_all() -> None:
    patience = Patience(5.0)
    for _ in range(3):
        with patience.fresh():
            silence()
    time.sleep(1.05)
    with ExitStack() as trying:
        trying.enter_context(patience.fresh())
        trying.enter_context(waiting("redis"))
        with patience.fresh(), pytest.raises(Unavailable), waiting("redis"):
            pytest.fail("one is enough to try")
    with patience.fresh(), waiting("redis"):
        pass
    with patience.fresh(), waiting("redis"):
        pass


def test_refusals_and_faults_of_ours_blow_no_fuse() -> None:
    patience = Patience(5.0)
    for _ in range(4):
        with patience.fresh(), pytest.raises(Unavailable), waiting("redis"):
            fail(Unavailable("refused at once"))
        with patience.fresh(), pytest.raises(Internal), waiting("redis"):
            fail(Internal("slow, but it answered"), after_s=0.25)
    with patience.fresh(), waiting("redis"):
        pass


def test_an_answer_in_between_mends_the_fuse() -> None:
    patience = Patience(5.0)
    for _ in range(2):
        for _ in range(2):
            with patience.fresh():
                silence()
        with patience.fresh(), waiting("redis"):
            pass
    with patience.fresh(), waiting("redis"):
        pass
