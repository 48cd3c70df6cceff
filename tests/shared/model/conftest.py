"""Worlds to tell stories in, and the table of what was told."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase
from hypothesis import settings as profile
from redis import Redis

from shared.redis.client import Scripts
from shared.settings import Settings
from tests.shared.model.editions import Edit, edition
from tests.shared.model.mutants import Mutant
from tests.shared.model.observation import LOOK
from tests.shared.model.world import World

Worlds = Callable[[Mutant | None], Callable[[], World]]

_LINES = pytest.StashKey[list[str]]()

profile.register_profile(
    "stories",
    max_examples=60,
    stateful_step_count=40,
    deadline=None,
    database=None,
    derandomize=True,
    phases=[Phase.generate],  # to shorten a story takes minutes; the long profile does
    report_multiple_bugs=False,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
#: pytest tests/shared/model/test_stories.py --hypothesis-profile=long --hypothesis-seed=1
profile.register_profile(
    "long",
    profile.get_profile("stories"),
    max_examples=400,
    stateful_step_count=80,
    derandomize=False,
    phases=[Phase.generate, Phase.shrink],
)


@pytest.fixture
def stories() -> profile:
    """How many stories are told, and how long ones."""
    asked = profile.get_current_profile_name()
    return profile.get_profile("long" if asked == "long" else "stories")


@pytest.fixture
def worlds(redis: Redis, settings: Settings, tmp_path: Path) -> Worlds:
    """Make worlds with the scripts as shipped, or with a mutant's."""

    def worlds(mutant: Mutant | None) -> Callable[[], World]:
        edits = mutant.edits if mutant else ()
        scripts = Scripts(redis, edition(tmp_path / "lua", [Edit("look", "", LOOK), *edits]))
        orders = mutant.orders if mutant else None
        return lambda: World(redis, scripts, settings, orders)

    return worlds


@pytest.fixture
def tell(request: pytest.FixtureRequest) -> Callable[[str], None]:
    """Print a line at the end of the run."""
    return request.config.stash.setdefault(_LINES, []).append


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    lines = terminalreporter.config.stash.get(_LINES, [])
    if lines:
        terminalreporter.section("stories of the state machine")
        terminalreporter.write_line("\n".join(lines))
