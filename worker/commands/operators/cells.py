"""``facemend cells``: move a tenant to another cell, and write the map for the router."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click

from shared.settings import load_settings_of
from worker.cells.move import TenantMove
from worker.cells.router_map import router_map
from worker.commands.exit_codes import EXIT_UNAVAILABLE, errors_as_exit_codes, exit_codes_help
from worker.commands.operators.service_settings import data_option, service_settings

_EPILOG = exit_codes_help(EXIT_UNAVAILABLE)
_to_option = click.option(
    "--to",
    "target",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    required=True,
    metavar="FILE",
    help="The other cell: a file with its settings (FACEMEND_REDIS_URL=… in lines).",
)


@click.group(epilog=_EPILOG)
def cells() -> None:
    """Move tenants between cells.

    A cell is one Redis, one bucket, and API, notifier and workers for a group of tenants. The
    source is the cell of the settings (FACEMEND_REDIS_URL …) or of --data.
    """


@cells.command(epilog=_EPILOG)
@click.argument("tenant")
@_to_option
@click.option("--dry-run", is_flag=True, help="Only show what would be moved.")
@data_option
def move(tenant: str, target: Path, dry_run: bool, data: Path | None) -> None:
    """Move TENANT to another cell: keys, webhooks, jobs, batches, uploads and objects.

    Its changes get 503 with Retry-After until the move is done; nothing is lost, and no job runs
    twice. Everything is compared before it is removed here. Run the command again if it was
    interrupted. Then write the map again (facemend cells map), and let the router read it.
    """
    with _move(tenant, target, data) as moving:
        if dry_run:
            moving.plan()
            click.echo("Nothing was changed.")
        else:
            moving.run()


@cells.command(epilog=_EPILOG)
@click.argument("tenant")
@_to_option
@data_option
def cancel(tenant: str, target: Path, data: Path | None) -> None:
    """Take back a move of TENANT that was interrupted, and remove its copy from the other cell."""
    with _move(tenant, target, data) as moving:
        moving.cancel()


@cells.command(name="map", epilog=_EPILOG)
@click.argument("named", nargs=-1, required=True, metavar="NAME=FILE...")
def map_(named: tuple[str, ...]) -> None:
    """Write the map of a router: which cell has the tenant of an API key.

    Give each cell as NAME=FILE with a file of its settings. A line of the map is the last digits of
    the id of an API key, and the name of the cell.
    """
    with errors_as_exit_codes():
        files = dict(_pair(each) for each in named)
        for line in router_map({name: load_settings_of(file) for name, file in files.items()}):
            click.echo(line)


def _pair(text: str) -> tuple[str, Path]:
    name, _, file = text.partition("=")
    if not name or not Path(file).is_file():
        raise click.BadParameter(f"{text}: give NAME=FILE, with a file that exists")
    return name, Path(file)


@contextmanager
def _move(tenant: str, target: Path, data: Path | None) -> Iterator[TenantMove]:
    with errors_as_exit_codes(), service_settings(data, with_s3=True) as settings:
        yield TenantMove(tenant, settings, load_settings_of(target), click.echo)
