"""The state machine finds each of the known mistakes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import Phase
from hypothesis import settings as profile
from hypothesis.stateful import run_state_machine_as_test

from tests.shared.model.conftest import Worlds
from tests.shared.model.guarantees import BrokenGuarantee
from tests.shared.model.mutants import MUTANTS, Mutant
from tests.shared.model.patched_scripts import Patch, patched_scripts
from tests.shared.model.state_machine import JobStateMachine


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name.replace(" ", "-"))
def test_a_mutant_is_caught(
    mutant: Mutant, worlds: Worlds, machine_settings: profile, summary: Callable[[str], None]
) -> None:
    make, tried = worlds(mutant), 0

    def build_machine() -> JobStateMachine:
        nonlocal tried
        tried += 1
        return JobStateMachine(make)

    longer = profile(machine_settings, max_examples=200, phases=[Phase.generate])
    with pytest.raises(BrokenGuarantee) as caught:
        run_state_machine_as_test(build_machine, settings=longer)
    assert caught.value.guarantee in mutant.breaks
    summary(f"{mutant.name}: found after {tried} sequences ({caught.value.guarantee})")


def test_a_patch_whose_text_is_gone_is_an_error(tmp_path: Path) -> None:
    patch = Patch("finish", "what no script contains", "")
    with pytest.raises(LookupError, match=r"finish\.lua"):
        patched_scripts(tmp_path / "lua", [patch])
