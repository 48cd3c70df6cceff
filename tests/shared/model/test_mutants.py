"""Each of nine known mistakes breaks a promise that the stories look at."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import Phase
from hypothesis import settings as profile
from hypothesis.stateful import run_state_machine_as_test

from tests.shared.model.conftest import Worlds
from tests.shared.model.editions import Edit, edition
from tests.shared.model.mutants import MUTANTS, Mutant
from tests.shared.model.promises import BrokenPromise
from tests.shared.model.stories import Stories


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name.replace(" ", "-"))
def test_a_mutant_is_caught(
    mutant: Mutant, worlds: Worlds, stories: profile, tell: Callable[[str], None]
) -> None:
    make, told = worlds(mutant), 0

    def story() -> Stories:
        nonlocal told
        told += 1
        return Stories(make)

    patient = profile(stories, max_examples=200, phases=[Phase.generate])
    with pytest.raises(BrokenPromise) as caught:
        run_state_machine_as_test(story, settings=patient)
    assert caught.value.promise in mutant.breaks
    tell(f"{mutant.name}: found after {told} stories ({caught.value.promise})")


def test_a_mutant_whose_place_is_gone_is_told(tmp_path: Path) -> None:
    edit = Edit("finish", "what no script has ever said", "")
    with pytest.raises(LookupError, match=r"finish\.lua"):
        edition(tmp_path / "lua", [edit])
