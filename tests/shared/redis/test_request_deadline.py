"""All Redis and S3 calls of a request share one time limit."""

from __future__ import annotations

import time

import pytest

from shared.errors import Unavailable
from shared.redis.request_deadline import RequestDeadline, limit_s, waiting


def test_without_a_deadline_nothing_is_limited() -> None:
    with waiting("redis"):
        assert limit_s(7.0) == 7.0
    assert limit_s(7.0) == 7.0


def test_all_calls_of_a_request_share_one_budget() -> None:
    with RequestDeadline(0.3).start():
        with waiting("redis"):
            time.sleep(0.2)
        with waiting("s3"):
            assert 0 < limit_s(7.0) <= 0.1
            time.sleep(0.15)
        with pytest.raises(Unavailable), waiting("redis"):
            pytest.fail("no time was left")


def test_time_outside_calls_does_not_count() -> None:
    with RequestDeadline(0.2).start():
        time.sleep(0.3)  # reads a body
        with waiting("redis"):
            assert limit_s(7.0) > 0.1


def test_the_time_left_shrinks_during_a_call() -> None:
    with RequestDeadline(1.0).start(), waiting("redis"):
        before = limit_s(7.0)
        time.sleep(0.05)
        assert limit_s(7.0) < before


def test_each_block_has_a_budget_of_its_own() -> None:
    deadline = RequestDeadline(0.2)
    with deadline.start():
        with waiting("redis"):
            time.sleep(0.2)
        with deadline.start(), waiting("redis"):
            assert limit_s(7.0) > 0.1
        with pytest.raises(Unavailable), waiting("redis"):
            pytest.fail("the outer budget was spent")


def test_a_call_inside_a_call_is_counted_once() -> None:
    with RequestDeadline(1.0).start():
        with waiting("redis"), waiting("redis"):
            time.sleep(0.1)
        with waiting("redis"):
            assert 0.7 < limit_s(7.0) < 0.95


def test_a_limit_is_never_zero_because_sockets_read_zero_as_no_limit() -> None:
    with RequestDeadline(0.01).start(), waiting("redis"):
        time.sleep(0.02)
        assert limit_s(7.0) > 0
