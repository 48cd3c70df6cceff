"""``facemend keys``: make, list and revoke the API keys of tenants."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import click

from shared.tenants.api_keys import ALL_SCOPES, ApiKey, KeyRing
from worker.commands.exit_codes import EXIT_UNAVAILABLE, errors_as_exit_codes, exit_codes_help
from worker.commands.operators.service_settings import data_option, service_settings

#: A key that only submits and reads; ``admin`` is given on purpose.
_USUAL_SCOPES = tuple(sorted(ALL_SCOPES - {"admin"}))


_EPILOG = exit_codes_help(EXIT_UNAVAILABLE)


@click.group(epilog=_EPILOG)
def keys() -> None:
    """Make, list and revoke API keys.

    They live in Redis (FACEMEND_REDIS_URL), hashed with FACEMEND_API_KEY_PEPPER, which must be the
    same as the API's. facemend up has both in its data folder: see --data.
    """


@keys.command(epilog=_EPILOG)
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
@data_option
def create(tenant: str, name: str, scopes: Sequence[str], data: Path | None) -> None:
    """Make a key and print it, once: only its hash is stored.

    The key alone goes to standard output, so that KEY=$(facemend keys create --tenant acme) works.
    """
    with _key_ring(data) as ring:
        key, token = ring.create(tenant, name, scopes)
    click.echo(f"{key.id} of {key.tenant}, {_scopes(key)}. It is shown this once:", err=True)
    click.echo(token)


@keys.command(name="list", epilog=_EPILOG)
@click.option("--tenant", help="Only this tenant's.")
@data_option
def list_(tenant: str | None, data: Path | None) -> None:
    """Show keys, oldest first; the keys themselves cannot be shown."""
    with _key_ring(data) as ring:
        found = ring.list(tenant)
    for key in found:
        made = datetime.fromtimestamp(key.created_at, UTC).strftime("%Y-%m-%d %H:%M")
        state = "revoked" if key.revoked else "valid"
        click.echo(f"{key.id}  {made}  {state:7}  {key.tenant}  {_scopes(key)}  {key.name}")


@keys.command(epilog=_EPILOG)
@click.argument("key_id")
@data_option
def revoke(key_id: str, data: Path | None) -> None:
    """End a key at once and for ever; KEY_ID as shown by the list."""
    with _key_ring(data) as ring:
        ring.revoke(key_id)
    click.echo(f"{key_id} is revoked.")


@keys.command("webhook-secret", epilog=_EPILOG)
@click.option("--tenant", required=True, help="Whose webhooks.")
@click.option("--rotate", is_flag=True, help="Make a new one; the old one is valid for 24 h more.")
@data_option
def webhook_secret(tenant: str, rotate: bool, data: Path | None) -> None:
    """Show the secret with which a tenant's webhooks are signed."""
    with _key_ring(data) as ring:
        secret = ring.rotate_webhook_secret(tenant) if rotate else ring.webhook_secrets(tenant)[0]
    click.echo(secret)


@contextmanager
def _key_ring(data: Path | None) -> Iterator[KeyRing]:
    with errors_as_exit_codes(), service_settings(data) as settings:
        yield KeyRing.connect(settings)


def _scopes(key: ApiKey) -> str:
    return ",".join(sorted(key.scopes))
