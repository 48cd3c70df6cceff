"""Every guarantee holds, whichever process dies between whichever steps.

The scripts are real and run on a real Redis; the callers are killed, frozen and resumed. Hypothesis
chooses the sequences of steps, and shrinks one that breaks a guarantee.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import pytest
from hypothesis import settings as profile
from hypothesis.stateful import run_state_machine_as_test

from tests.shared.model.conftest import Worlds
from tests.shared.model.state_machine import JobStateMachine
from tests.shared.model.world import World


@pytest.mark.timeout(1800)  # for the long profile, or for shrinking
def test_every_guarantee_holds(
    worlds: Worlds, machine_settings: profile, summary: Callable[[str], None]
) -> None:
    built: list[World] = []
    make = worlds(None)

    def build_machine() -> JobStateMachine:
        machine = JobStateMachine(make)
        built.append(machine.world)
        return machine

    run_state_machine_as_test(build_machine, settings=machine_settings)
    steps = sum((world.steps for world in built), Counter[str]())
    ends = Counter(
        str(end) for world in built for job in world.ledger.histories.values() for end in job.ends
    )
    summary(
        f"{len(built)} sequences, {sum(steps.values())} steps of processes; all guarantees hold"
    )
    summary("jobs that ended: " + _listed(ends))
    summary("noteworthy: " + _listed(sum((world.ledger.tally for world in built), Counter[str]())))
    summary("steps: " + _listed(steps))
    assert set(ends) == {"succeeded", "failed", "canceled"}


def _listed(counts: Counter[str]) -> str:
    return ", ".join(f"{name} {count}" for name, count in sorted(counts.items()))
