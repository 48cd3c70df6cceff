"""``facemend tenants``: pins, and what becomes of them after a loss of Redis."""

from __future__ import annotations

from typing import Any

import pytest
from click.testing import CliRunner, Result
from redis import Redis

from shared.redis.scripts import Scripts
from shared.settings import Settings
from shared.tenants.api_keys import KeyRing
from shared.tenants.pins import Pins
from worker.cli import main


@pytest.fixture
def facemend(stack_settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch, redis: Redis) -> Any:
    """Runs ``facemend tenants …`` as a shell would."""
    monkeypatch.setenv("FACEMEND_REDIS_URL", stack_settings["redis_url"])

    def run(*arguments: str) -> Result:
        return CliRunner().invoke(main, ["tenants", *arguments])

    return run


def test_a_pin_holds_for_the_next_request_until_it_is_removed(
    facemend: Any, redis: Redis, settings: Settings
) -> None:
    ring = KeyRing(Scripts(redis), settings.api_key_pepper)
    _, token = ring.create("acme", "shop")
    _, other = ring.create("globex", "shop")
    assert ring.authenticate(token).pin is None
    assert facemend("pin", "acme", "eu").exit_code == 0
    assert (ring.authenticate(token).pin, ring.authenticate(other).pin) == ("eu", None)
    assert facemend("list").stdout.split() == ["acme", "eu"]
    assert facemend("unpin", "acme").exit_code == 0
    assert ring.authenticate(token).pin is None
    assert facemend("list").stdout == ""


@pytest.mark.parametrize("pool", ["EU", "a@b", "", "x" * 32])
def test_a_name_that_no_pool_can_have_is_refused(facemend: Any, pool: str) -> None:
    refused = facemend("pin", "acme", pool)
    assert refused.exit_code == 2
    assert "31 characters" in refused.stderr
    assert facemend("list").stdout == ""


def test_pins_are_in_the_backup_of_the_keys(redis: Redis, settings: Settings) -> None:
    ring, pins = KeyRing(Scripts(redis), settings.api_key_pepper), Pins(Scripts(redis))
    _, token = ring.create("acme", "shop")
    pins.pin("acme", "eu")
    copy = ring.copy()
    redis.flushdb()
    ring.restore(copy)
    assert ring.authenticate(token).pin == "eu"
    pins.pin("acme", "us")
    ring.restore(copy)
    assert pins.all() == {"acme": "us"}  # a restored pin replaces no later one
