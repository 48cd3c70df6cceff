"""Sums of a pair of models grow with each job, and begin anew with another file."""

from __future__ import annotations

from dataclasses import replace

import pytest
from redis import Redis

from shared.jobs.shadow_sums import KEPT_S, ModelPair, ShadowFigures, ShadowSums
from shared.redis.scripts import Scripts

PAIR = ModelPair("new", "1" * 64, "old", "2" * 64)


@pytest.fixture
def sums(scripts: Scripts) -> ShadowSums:
    return ShadowSums(scripts)


def test_the_figures_of_jobs_add_up(sums: ShadowSums) -> None:
    sums.add(PAIR, ShadowFigures(jobs=1, faces=2, old_sharpness=1.25))
    sums.add(PAIR, ShadowFigures(jobs=1, faces=1, old_sharpness=0.5, new_ms=7))
    sums.add_dropped(PAIR)
    sums.add_failed(PAIR, "internal")
    sums.add_failed(PAIR, "internal")
    sums.add_failed(PAIR, "out-of-memory")
    record = sums.latest("new", "old")
    assert record is not None
    assert record.pair == PAIR
    assert record.figures == ShadowFigures(jobs=2, faces=3, old_sharpness=1.75, new_ms=7)
    assert record.dropped == 1
    assert record.failed == {"internal": 2, "out-of-memory": 1}


def test_a_pair_without_jobs_has_no_record(sums: ShadowSums) -> None:
    sums.add(PAIR, ShadowFigures(jobs=1))
    assert sums.latest("old", "new") is None
    assert sums.latest("new", "other") is None


@pytest.mark.parametrize("changed", ["new_sha256", "old_sha256"])
def test_another_file_begins_new_sums_and_the_last_that_grew_is_shown(
    sums: ShadowSums, changed: str
) -> None:
    sums.add(PAIR, ShadowFigures(jobs=1))
    other = replace(PAIR, **{changed: "3" * 64})
    sums.add(other, ShadowFigures(jobs=1))
    record = sums.latest("new", "old")
    assert record is not None
    assert (record.pair, record.figures.jobs) == (other, 1)
    sums.add(PAIR, ShadowFigures(jobs=1))  # a worker that has the earlier file still
    record = sums.latest("new", "old")
    assert record is not None
    assert (record.pair, record.figures.jobs) == (PAIR, 2)


def test_a_reset_removes_all_files_of_one_pair(sums: ShadowSums, redis: Redis) -> None:
    sums.add(PAIR, ShadowFigures(jobs=1))
    sums.add(replace(PAIR, new_sha256="3" * 64), ShadowFigures(jobs=1))
    sums.add(replace(PAIR, old="third"), ShadowFigures(jobs=1))
    sums.reset("new", "old")
    assert sums.latest("new", "old") is None
    assert sums.latest("new", "third") is not None
    assert len(redis.keys("fm:shadow:new:old*")) == 0


def test_sums_that_do_not_grow_expire(sums: ShadowSums, redis: Redis) -> None:
    sums.add(PAIR, ShadowFigures(jobs=1))
    keys = redis.keys("fm:shadow:*")
    assert len(keys) == 2
    assert all(KEPT_S - 60 < redis.ttl(key) <= KEPT_S for key in keys)
