"""Whatever dies between whichever steps, every promise is kept.

Real scripts on real Redis, and callers that are killed, frozen and resumed; hypothesis makes up
the stories and shortens one that breaks a promise.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import pytest
from hypothesis import settings as profile
from hypothesis.stateful import run_state_machine_as_test

from tests.shared.model.conftest import Worlds
from tests.shared.model.stories import Stories
from tests.shared.model.world import World


@pytest.mark.timeout(1800)  # a long profile, or a story that has to be shortened
def test_every_promise_is_kept(
    worlds: Worlds, stories: profile, tell: Callable[[str], None]
) -> None:
    told: list[World] = []
    make = worlds(None)

    def story() -> Stories:
        machine = Stories(make)
        told.append(machine.world)
        return machine

    run_state_machine_as_test(story, settings=stories)
    steps = sum((world.steps for world in told), Counter[str]())
    ends = Counter(
        str(end) for world in told for job in world.ledger.stories.values() for end in job.ends
    )
    tell(f"{len(told)} stories, {sum(steps.values())} steps of processes; all promises kept")
    tell("jobs that ended: " + _listed(ends))
    tell("of note: " + _listed(sum((world.ledger.tally for world in told), Counter[str]())))
    tell("steps: " + _listed(steps))
    assert set(ends) == {"succeeded", "failed", "canceled"}


def _listed(counts: Counter[str]) -> str:
    return ", ".join(f"{name} {count}" for name, count in sorted(counts.items()))
