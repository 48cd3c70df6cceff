"""``facemend models``: which weights there are, getting them, checking them."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn
from rich.table import Column, Table

from shared.errors import FacemendError, ModelUnavailable, WeightsMissing
from shared.settings import Settings, load_settings
from worker.commands.failure import EXIT_MODEL, errors_as_exit_codes, line_of
from worker.commands.promote import promote
from worker.weights.catalogue import CATALOGUE, Entry
from worker.weights.download import pull
from worker.weights.files import expected_sha256, find_entry, verify
from worker.weights.sources import source_of

_HELP = """List, download and check model weights.

\b
facemend models list
facemend models pull gpen-bfr-512
facemend models pull gpen-bfr-512 --from s3://bucket/weights
facemend models verify
facemend models promote mine-2 --over mine --photos val.zip

Weights lie in FACEMEND_MODELS_DIR. Exit codes: 0 all well, 2 wrong command, 3 weights missing or
wrong.
"""


@click.group(help=_HELP)
def models() -> None:
    """Hold the commands below."""


models.add_command(promote)


@models.command("list")
def list_models() -> None:
    """Show every model we know: sizes, licence, and whether it is here."""
    with errors_as_exit_codes():
        settings = load_settings()
    table = Table(Column("model", no_wrap=True), "for", "px", "licence", "here")
    for entry in CATALOGUE.values():
        px = str(entry.out_px or "")
        use = entry.kind if entry.task == "restore" else entry.task
        table.add_row(entry.name, use, px, entry.licence, _state(entry, settings))
    Console().print(table)
    click.echo(f"Weights are kept in {settings.models_dir}.")
    if any(not entry.licence_is_open for entry in CATALOGUE.values()):
        click.echo(
            "A licence that is not open has to be accepted before the model loads: "
            "FACEMEND_ACCEPTED_LICENCES=gpen-unstated"
        )


@models.command("pull")
@click.argument("names", nargs=-1, required=True, metavar="NAME...")
@click.option(
    "--from",
    "mirror",
    metavar="PLACE",
    help="A mirror that holds the file: https://…, s3://bucket/prefix or a folder.  "
    "[default: FACEMEND_MODELS_URL, else the published address]",
)
def pull_models(names: tuple[str, ...], mirror: str | None) -> None:
    """Download weights; a download that broke off goes on where it stopped."""
    with errors_as_exit_codes():
        settings = load_settings()
        for name in names:
            _pull(_known(name), settings, mirror or settings.models_url)


@models.command("verify")
@click.argument("names", nargs=-1, metavar="[NAME]...")
def verify_models(names: tuple[str, ...]) -> None:
    """Check the hash of each file that is here, or of the models named."""
    failed = False
    with errors_as_exit_codes():
        settings = load_settings()
        for entry in _entries(names, settings.models_dir):
            try:
                sha256, pinned = _verify(entry, settings.models_dir)
                click.echo(f"{entry.name}: {sha256} ({pinned})")
            except FacemendError as error:
                click.echo(f"{entry.name}: {line_of(error)}", err=True)
                failed = True
    if failed:
        sys.exit(EXIT_MODEL)


def _pull(entry: Entry, settings: Settings, mirror: str | None) -> None:
    source = source_of(entry, mirror, lambda: _connect_s3(settings))
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
    )
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task(entry.name, total=entry.bytes)
        path = pull(
            entry,
            settings.models_dir,
            source,
            lambda done, total: progress.update(task, completed=done, total=total),
        )
    click.echo(f"{entry.name}: {path}")
    if not entry.sha256:
        click.echo(
            "  Nobody published a hash for this file. That of this download is recorded beside it; "
            "the file has to match it from now on."
        )
    if not entry.licence_is_open:
        click.echo(
            f"  Its licence is {entry.licence}, which is not an open one. If you may use it, set "
            f"FACEMEND_ACCEPTED_LICENCES={entry.licence}"
        )


def _verify(entry: Entry, models_dir: Path) -> tuple[str, str]:
    """The file's hash and what it was compared with."""
    path = entry.path(models_dir)
    if not path.is_file():
        raise WeightsMissing(f"not at {path}; {entry.cure}")
    known = expected_sha256(entry, path)
    origin = "as published" if entry.sha256 else "as recorded" if known else "recorded now"
    return verify(entry, path), origin


def _entries(names: Iterable[str], models_dir: Path) -> list[Entry]:
    """Those named, or all that are here."""
    if names:
        return [find_entry(name, models_dir) for name in names]
    return [entry for entry in CATALOGUE.values() if entry.path(models_dir).is_file()]


def _known(name: str) -> Entry:
    if name not in CATALOGUE:
        raise ModelUnavailable(f"there is no model {name!r}; known are {', '.join(CATALOGUE)}")
    return CATALOGUE[name]


def _state(entry: Entry, settings: Settings) -> str:
    path = entry.path(settings.models_dir)
    if entry.embedded:
        return "comes with the package" if path.is_file() else "missing"
    if path.is_file():
        return "yes"
    part = path.with_name(path.name + ".part")
    return f"{part.stat().st_size / 1e6:.0f} MB of it" if part.is_file() else "no"


def _connect_s3(settings: Settings) -> Any:
    """Connect with the settings of our own object storage: a mirror in S3 is the operator's."""
    import boto3
    from botocore.config import Config

    secret, key = settings.s3_secret_access_key, settings.s3_access_key_id
    return boto3.client(
        "s3",
        endpoint_url=settings.s3_endpoint_url,
        region_name=settings.s3_region,
        aws_access_key_id=key.get_secret_value() if key else None,
        aws_secret_access_key=secret.get_secret_value() if secret else None,
        config=Config(
            s3={"addressing_style": "path"}, connect_timeout=3, read_timeout=settings.s3_timeout_s
        ),
    )
