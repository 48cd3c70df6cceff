"""``facemend keys``: make, list and revoke the API keys of tenants."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

import click

from shared.redis.client import connect
from shared.settings import load_settings
from shared.tenants.api_keys import ALL_SCOPES, ApiKey, KeyRing
from worker.commands.failure import errors_as_exit_codes

#: A key that only submits and reads; ``admin`` is given on purpose.
_USUAL_SCOPES = tuple(sorted(ALL_SCOPES - {"admin"}))


@click.group()
def keys() -> None:
    """Make, list and revoke API keys.

    They live in Redis (FACEMEND_REDIS_URL), hashed with FACEMEND_API_KEY_PEPPER, which must be the
    same as the API's.
    """


@keys.command()
@click.option("--tenant", required=True, help="Whose key: lower-case letters, digits, - and _.")
@click.option("--name", default="", help="What it is for; shown in the list.")
@click.option(
    "--scope",
    "scopes",
    multiple=True,
    type=click.Choice(sorted(ALL_SCOPES)),
    default=_USUAL_SCOPES,
    show_default=True,
    help="What it may do; give it once for each.",
)
def create(tenant: str, name: str, scopes: Sequence[str]) -> None:
    """Make a key and print it, once: only its hash is stored.

    The key alone goes to standard output, so that KEY=$(facemend keys create --tenant acme) works.
    """
    with errors_as_exit_codes():
        key, token = _ring().create(tenant, name, scopes)
    click.echo(f"{key.id} of {key.tenant}, {_scopes(key)}. It is shown this once:", err=True)
    click.echo(token)


@keys.command(name="list")
@click.option("--tenant", help="Only this tenant's.")
def list_(tenant: str | None) -> None:
    """Show keys, oldest first; the keys themselves cannot be shown."""
    with errors_as_exit_codes():
        found = _ring().list(tenant)
    for key in found:
        made = datetime.fromtimestamp(key.created_at, UTC).strftime("%Y-%m-%d %H:%M")
        state = "revoked" if key.revoked else "valid"
        click.echo(f"{key.id}  {made}  {state:7}  {key.tenant}  {_scopes(key)}  {key.name}")


@keys.command()
@click.argument("key_id")
def revoke(key_id: str) -> None:
    """End a key at once and for ever; KEY_ID as shown by the list."""
    with errors_as_exit_codes():
        _ring().revoke(key_id)
    click.echo(f"{key_id} is revoked.")


@keys.command("webhook-secret")
@click.option("--tenant", required=True, help="Whose webhooks.")
@click.option("--rotate", is_flag=True, help="Make a new one; the old one is valid for 24 h more.")
def webhook_secret(tenant: str, rotate: bool) -> None:
    """Show the secret with which a tenant's webhooks are signed."""
    with errors_as_exit_codes():
        ring = _ring()
        secret = ring.rotate_webhook_secret(tenant) if rotate else ring.webhook_secrets(tenant)[0]
    click.echo(secret)


def _ring() -> KeyRing:
    settings = load_settings()
    return KeyRing(connect(settings), settings.api_key_pepper)


def _scopes(key: ApiKey) -> str:
    return ",".join(sorted(key.scopes))
