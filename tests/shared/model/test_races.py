"""Sequences that once broke a guarantee: two callers in the wrong order, or one that dies."""

from __future__ import annotations

import pytest

from tests.shared.model.clients import ErasureRequest, RetryRequest, Submission
from tests.shared.model.conftest import Worlds
from tests.shared.model.ledger import Client, JobHistory
from tests.shared.model.notifier import Expiry, Reaper
from tests.shared.model.observation import check_all
from tests.shared.model.quiescence import run_to_quiescence
from tests.shared.model.world import Process, World

DAY_S = 86_400.0


@pytest.fixture
def world(worlds: Worlds) -> World:
    """With one job, which has failed."""
    world = worlds(None)()
    client = Client(0, "acme", "normal", keyed=True, wants_events=True, poison=False)
    world.run_all(Submission(world, client))
    run(world, "failed")
    return world


def job(world: World) -> JobHistory:
    (history,) = world.ledger.histories.values()
    return history


def run(world: World, fate: str) -> None:
    assert world.ring(world.workers[0], fate, 100)


def stop_after(world: World, caller: RetryRequest | Expiry, steps: int) -> Process:
    world.start(caller, steps)
    return world.processes[-1]


def test_of_two_retries_that_saw_the_same_failure_one_is_refused(world: World) -> None:
    """The second one would create a generation without a manifest."""
    late = stop_after(world, RetryRequest(world, job(world)), 2)
    world.run_all(RetryRequest(world, job(world)))
    run(world, "failed")
    world.resume(late)
    check_all(world)
    assert job(world).generation == 2
    run_to_quiescence(world)


def test_an_erased_job_is_not_restored_by_a_retry_that_died(world: World) -> None:
    world.kill(stop_after(world, RetryRequest(world, job(world)), 2))
    world.run_all(ErasureRequest(world, job(world)))
    world.lose_redis()
    world.pass_time(DAY_S + 1)
    world.sweep()
    assert job(world).erased
    check_all(world)


def test_a_job_that_is_about_to_expire_is_not_retried(world: World) -> None:
    """The notifier may delete its objects late, after a new run has stored others."""
    world.pass_time(world.settings.result_ttl_s + 1)
    late = stop_after(world, Expiry(world), 1)
    world.run_all(RetryRequest(world, job(world)))
    assert job(world).generation == 1
    world.resume(late)
    assert job(world).erased


def test_a_retry_that_died_after_its_manifest_is_completed_by_the_sweep(world: World) -> None:
    world.kill(stop_after(world, RetryRequest(world, job(world)), 2))
    world.pass_time(1000)
    world.sweep()
    assert job(world).generation == 2
    run_to_quiescence(world)


def test_an_outcome_that_is_sealed_too_late_restores_no_success(world: World) -> None:
    """The sweeper has already deleted the picture of that run."""
    world.run_all(RetryRequest(world, job(world)))
    assert world.ring(world.workers[0], "succeeded", 5)  # up to its picture
    (frozen,) = world.processes
    world.pass_time(world.settings.lease_s + 2, world.workers[0])
    world.run_all(Reaper(world))
    world.sweep()
    world.resume(frozen, 1)
    world.lose_redis()
    check_all(world)
    run_to_quiescence(world)


def test_a_retried_job_is_kept_beside_one_that_was_requested_a_day_later(
    world: World,
) -> None:
    """Its key had expired, so both were accepted."""
    first = job(world)
    world.pass_time(DAY_S + 1)
    world.run_all(RetryRequest(world, first))
    world.run_all(Submission(world, first.client))
    assert len(world.ledger.histories) == 2
    world.lose_redis()
    check_all(world)
    run_to_quiescence(world)
