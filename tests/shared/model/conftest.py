"""Worlds for the state machine, and the summary at the end of the test run."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase
from hypothesis import settings as profile
from redis import Redis

from shared.redis.scripts import Scripts
from shared.settings import Settings
from tests.shared.model.mutants import Mutant
from tests.shared.model.observation import READ_ALL
from tests.shared.model.patched_scripts import Patch, patched_scripts
from tests.shared.model.world import World

Worlds = Callable[[Mutant | None], Callable[[], World]]

_LINES = pytest.StashKey[list[str]]()

profile.register_profile(
    "state-machine",
    max_examples=60,
    stateful_step_count=40,
    deadline=None,
    database=None,
    derandomize=True,
    phases=[Phase.generate],  # shrinking takes minutes; only the long profile does it
    report_multiple_bugs=False,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
#: pytest tests/shared/model/test_state_machine.py --hypothesis-profile=long --hypothesis-seed=1
profile.register_profile(
    "long",
    profile.get_profile("state-machine"),
    max_examples=400,
    stateful_step_count=80,
    derandomize=False,
    phases=[Phase.generate, Phase.shrink],
)


@pytest.fixture
def machine_settings() -> profile:
    """How many sequences are tried, and how long they are."""
    requested = profile.get_current_profile_name()
    return profile.get_profile("long" if requested == "long" else "state-machine")


@pytest.fixture
def worlds(redis: Redis, settings: Settings, tmp_path: Path) -> Worlds:
    """Build worlds with the scripts of the product, or with those of a mutant."""

    def worlds(mutant: Mutant | None) -> Callable[[], World]:
        patches = mutant.patches if mutant else ()
        folder = patched_scripts(tmp_path / "lua", [Patch("read_all", "", READ_ALL), *patches])
        scripts = Scripts(redis, folder)
        step_orders = mutant.step_orders if mutant else None
        return lambda: World(redis, scripts, settings, step_orders)

    return worlds


@pytest.fixture
def summary(request: pytest.FixtureRequest) -> Callable[[str], None]:
    """Print a line at the end of the run."""
    return request.config.stash.setdefault(_LINES, []).append


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    lines = terminalreporter.config.stash.get(_LINES, [])
    if lines:
        terminalreporter.section("state machine of the job record")
        terminalreporter.write_line("\n".join(lines))
