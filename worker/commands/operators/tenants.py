"""``facemend tenants``: which pool of workers runs the jobs of a tenant."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click

from shared.redis.client import connect
from shared.redis.scripts import Scripts
from shared.settings import POOL_NAME
from shared.tenants.pins import Pins
from worker.commands.exit_codes import EXIT_UNAVAILABLE, errors_as_exit_codes, exit_codes_help
from worker.commands.operators.service_settings import data_option, service_settings

_EPILOG = exit_codes_help(EXIT_UNAVAILABLE)


@click.group(epilog=_EPILOG)
def tenants() -> None:
    """Pin tenants to pools of workers.

    A pool is a group of workers, by hardware or region (FACEMEND_POOL). All new jobs of a tenant
    that is pinned go to its pool. Those of other tenants go to a pool that their model names
    (FACEMEND_MODEL_POOLS), or to the pool default. A pin is a record in Redis (FACEMEND_REDIS_URL).
    """


@tenants.command(epilog=_EPILOG)
@click.argument("tenant")
@click.argument("pool")
@data_option
def pin(tenant: str, pool: str, data: Path | None) -> None:
    """Send all new jobs of TENANT to POOL.

    Jobs that wait stay where they are. A request for a model that names its pools is refused if
    POOL is not one of them.
    """
    if not re.fullmatch(POOL_NAME, pool):
        raise click.BadParameter("a pool has 1 to 31 characters of a-z, 0-9 and -")
    with _pins(data) as pins:
        pins.pin(tenant, pool)
    click.echo(f"New jobs of {tenant} go to the pool {pool}.")


@tenants.command(epilog=_EPILOG)
@click.argument("tenant")
@data_option
def unpin(tenant: str, data: Path | None) -> None:
    """Let the models of TENANT choose the pools of its new jobs again."""
    with _pins(data) as pins:
        pins.unpin(tenant)
    click.echo(f"{tenant} is not pinned.")


@tenants.command(name="list", epilog=_EPILOG)
@data_option
def list_(data: Path | None) -> None:
    """Show the tenants that are pinned, and their pools."""
    with _pins(data) as pins:
        found = pins.all()
    for tenant, pool in sorted(found.items()):
        click.echo(f"{tenant}  {pool}")


@contextmanager
def _pins(data: Path | None) -> Iterator[Pins]:
    with errors_as_exit_codes(), service_settings(data) as settings:
        yield Pins(Scripts(connect(settings)))
