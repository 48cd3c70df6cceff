from __future__ import annotations

from typing import Any

import pytest
from click.testing import CliRunner, Result
from redis import Redis

from shared.errors import Unauthorized
from shared.redis.scripts import Scripts
from shared.settings import Settings
from shared.tenants.api_keys import KeyRing
from worker.cli import main


@pytest.fixture
def ring(redis: Redis, settings: Settings) -> KeyRing:
    return KeyRing(Scripts(redis), settings.api_key_pepper)


@pytest.fixture
def facemend(stack_settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch, redis: Redis) -> Any:
    """Runs ``facemend keys …`` as a shell would."""
    for name in ("redis_url", "api_key_pepper"):
        monkeypatch.setenv(f"FACEMEND_{name.upper()}", stack_settings[name])

    def run(*arguments: str) -> Result:
        return CliRunner().invoke(main, ["keys", *arguments])

    return run


def test_standard_output_has_only_the_new_key_which_is_valid(facemend: Any, ring: KeyRing) -> None:
    made = facemend("create", "--tenant", "acme", "--name", "shop")
    assert made.exit_code == 0, made.output
    key = ring.authenticate(made.stdout.strip())
    assert (key.tenant, key.name) == ("acme", "shop")
    assert key.scopes == {"restorations:read", "restorations:write"}
    assert key.id in made.stderr


def test_each_scope_is_given_by_its_own_option(facemend: Any, ring: KeyRing) -> None:
    made = facemend("create", "--tenant", "acme", "--scope", "restorations:read")
    assert ring.authenticate(made.stdout.strip()).scopes == {"restorations:read"}


def test_the_list_shows_the_owners_of_keys_but_no_token(facemend: Any) -> None:
    token = facemend("create", "--tenant", "acme", "--name", "shop").stdout.strip()
    facemend("create", "--tenant", "globex")
    everything, ours = facemend("list"), facemend("list", "--tenant", "acme")
    assert len(everything.stdout.splitlines()) == 2
    (line,) = ours.stdout.splitlines()
    assert {"acme", "valid", "shop"} <= set(line.split())
    assert token not in everything.stdout


def test_a_revoked_key_is_unauthorized_and_listed_as_revoked(facemend: Any, ring: KeyRing) -> None:
    token = facemend("create", "--tenant", "acme").stdout.strip()
    key_id = ring.authenticate(token).id
    assert facemend("revoke", key_id).exit_code == 0
    with pytest.raises(Unauthorized):
        ring.authenticate(token)
    assert "revoked" in facemend("list").stdout


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("revoke", "key_unheard_of"), "not-found"),
        (("create", "--tenant", "Not A Tenant"), "tenant"),
        (("create", "--tenant", "acme", "--scope", "everything"), "everything"),
        (("create",), "--tenant"),
    ],
)
def test_a_mistake_is_an_error_message(
    facemend: Any, arguments: tuple[str, ...], said: str
) -> None:
    result = facemend(*arguments)
    assert result.exit_code > 0
    assert said in result.stderr
    assert "Traceback" not in result.output


def test_without_redis_the_error_says_so(facemend: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FACEMEND_REDIS_URL", "redis://127.0.0.1:9/0")
    result = facemend("list")
    assert result.exit_code > 0
    assert result.stderr.startswith("unavailable: ")


def test_the_webhook_secret_of_a_tenant_is_shown_and_replaced(facemend: Any, ring: KeyRing) -> None:
    before = facemend("webhook-secret", "--tenant", "acme").stdout.strip()
    after = facemend("webhook-secret", "--tenant", "acme", "--rotate").stdout.strip()
    assert ring.webhook_secrets("acme") == (after, before)
