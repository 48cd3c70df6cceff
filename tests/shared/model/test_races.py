"""Stories that were found once, told again: two callers in the wrong order, or one that dies."""

from __future__ import annotations

import pytest

from tests.shared.model.conftest import Worlds
from tests.shared.model.customers import Again, Erasure, Submission
from tests.shared.model.duties import Expiry, Reaping
from tests.shared.model.ledger import Client, Story
from tests.shared.model.observation import observe
from tests.shared.model.rest import come_to_rest
from tests.shared.model.world import Process, World

DAY_S = 86_400.0


@pytest.fixture
def world(worlds: Worlds) -> World:
    """With one job, which has failed."""
    world = worlds(None)()
    client = Client(0, "acme", "normal", keyed=True, wants_events=True, poison=False)
    world.do(Submission(world, client))
    run(world, "failed")
    return world


def job(world: World) -> Story:
    (story,) = world.ledger.stories.values()
    return story


def run(world: World, fate: str) -> None:
    assert world.hear(world.engines[0], fate, 100)


def stop_after(world: World, caller: Again | Expiry, steps: int) -> Process:
    world.begin(caller, steps)
    return world.processes[-1]


def test_of_two_retries_that_saw_the_same_failure_one_is_refused(world: World) -> None:
    """The second one would make a generation that has no manifest."""
    late = stop_after(world, Again(world, job(world)), 2)
    world.do(Again(world, job(world)))
    run(world, "failed")
    world.go_on(late)
    observe(world)
    assert job(world).generation == 2
    come_to_rest(world)


def test_an_erased_job_does_not_come_back_from_a_retry_that_died(world: World) -> None:
    world.kill(stop_after(world, Again(world, job(world)), 2))
    world.do(Erasure(world, job(world)))
    world.lose_redis()
    world.pass_time(DAY_S + 1)
    world.sweep()
    assert job(world).erased
    observe(world)


def test_what_is_about_to_expire_is_not_retried(world: World) -> None:
    """The notifier deletes its objects, late, when a new run may have stored others."""
    world.pass_time(world.settings.result_ttl_s + 1)
    late = stop_after(world, Expiry(world), 1)
    world.do(Again(world, job(world)))
    assert job(world).generation == 1
    world.go_on(late)
    assert job(world).erased


def test_a_retry_that_died_after_its_promise_is_made_by_the_sweep(world: World) -> None:
    world.kill(stop_after(world, Again(world, job(world)), 2))
    world.pass_time(1000)
    world.sweep()
    assert job(world).generation == 2
    come_to_rest(world)


def test_a_seal_that_came_too_late_brings_nothing_back_as_done(world: World) -> None:
    """The picture of its run is swept by then."""
    world.do(Again(world, job(world)))
    assert world.hear(world.engines[0], "succeeded", 5)  # as far as its picture
    (frozen,) = world.processes
    world.pass_time(world.settings.lease_s + 2, world.engines[0])
    world.do(Reaping(world))
    world.sweep()
    world.go_on(frozen, 1)
    world.lose_redis()
    observe(world)
    come_to_rest(world)


def test_a_retried_job_is_not_given_up_for_one_that_was_asked_for_a_day_later(
    world: World,
) -> None:
    """Its key was forgotten by then, so both were accepted."""
    first = job(world)
    world.pass_time(DAY_S + 1)
    world.do(Again(world, first))
    world.do(Submission(world, first.client))
    assert len(world.ledger.stories) == 2
    world.lose_redis()
    observe(world)
    come_to_rest(world)
