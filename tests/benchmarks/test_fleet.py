"""The simulated pool of workers: it loses no job, and scales as its rule says."""

from __future__ import annotations

import random

import pytest

from benchmarks.scale.fleet import (
    Arrival,
    Fleet,
    Rule,
    Scaling,
    Speeds,
    by_face_seconds,
    by_list_length,
)

SPEEDS = Speeds(face_s=0.1, job_s=0.1, start_s=30.0, drain_s=20.0)


@pytest.mark.parametrize("rule", [by_face_seconds(20), by_list_length(20)])
def test_every_job_starts_once_more_than_it_is_restarted(rule: Rule) -> None:
    die = random.Random(3)
    arrivals = [Arrival(die.uniform(0, 900), die.randrange(0, 400)) for _ in range(300)]
    outcome = Fleet(SPEEDS, Scaling(rule)).run(arrivals)
    assert len(outcome.waits_s) == len(arrivals) + outcome.restarted
    assert min(outcome.waits_s) >= 0


def test_a_job_waits_for_the_first_worker_and_the_pool_shrinks_to_none() -> None:
    scaling = Scaling(by_face_seconds(20), poll_s=15, cooldown_s=60, stabilisation_s=60)
    outcome = Fleet(SPEEDS, scaling).run([Arrival(1.0, 9)])
    assert outcome.waits_s == [pytest.approx(15 + 30 - 1)]  # the next poll, and its start
    assert 60 < outcome.worker_s < 200


def test_running_work_keeps_its_worker_only_if_the_rule_counts_it() -> None:
    """A photo with very many faces runs alone: the list of waiting jobs is empty."""
    arrivals = [Arrival(0.0, 4000)]  # 400 s; later photos keep a worker for the second start
    arrivals += [Arrival(at_s, 1) for at_s in range(500, 1500, 50)]
    counted = Fleet(SPEEDS, Scaling(by_face_seconds(20), max_workers=2)).run(arrivals)
    ignored = Fleet(SPEEDS, Scaling(by_list_length(1), max_workers=2)).run(arrivals)
    assert counted.restarted == 0
    assert ignored.restarted > 0
