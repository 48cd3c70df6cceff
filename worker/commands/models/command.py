"""``facemend models``: lists, downloads, adds and verifies model weights."""

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
from worker.commands.exit_codes import EXIT_MODEL, errors_as_exit_codes, exit_codes_help, line_of
from worker.commands.models.add import add
from worker.commands.models.promote import promote
from worker.commands.models.shadow import shadow
from worker.weights.added_models import added_entries
from worker.weights.catalogue import CATALOGUE, GPEN_LICENCE, LICENCES, find_entry
from worker.weights.download import pull
from worker.weights.model_entry import ModelEntry
from worker.weights.sources import choose_source
from worker.weights.verification import expected_sha256, verify

_HELP = """List, download, add and verify model weights.

\b
facemend models list
facemend models pull gpen-bfr-512
facemend models pull gpen-bfr-512 --from s3://bucket/weights
facemend models add restorer.onnx --size 512 --template ffhq --licence Apache-2.0
facemend models add 4x-mine.safetensors --kind upscaler --licence CC-BY-4.0
facemend models verify
facemend models shadow mine-2 --over mine
facemend models promote mine-2 --over mine --photos val.zip

The weights are in FACEMEND_MODELS_DIR. Exit codes: 0 success, 2 wrong command or setting, 3 weights
missing or wrong.
"""


_EPILOG = exit_codes_help(EXIT_MODEL)


@click.group(help=_HELP)
def models() -> None:
    """The group of the commands below; its help is ``_HELP``."""


models.add_command(add)
models.add_command(promote)
models.add_command(shadow)


@models.command("list", epilog=_EPILOG)
def list_models() -> None:
    """List every model: what it is good at, sizes, licence, and whether it is installed."""
    with errors_as_exit_codes():
        settings = load_settings()
        entries = [*CATALOGUE.values(), *added_entries(settings.models_dir)]
    no_wrap = Column("model", no_wrap=True)
    table = Table(no_wrap, "use", "px", "MB", "installed")
    for entry in entries:
        use = entry.kind if entry.task == "restore" else entry.task
        size = "" if entry.bytes is None else f"{entry.bytes / 1e6:.0f}"
        px = f"x{entry.scale}" if entry.scale else str(entry.out_px or "")
        table.add_row(entry.name, use, px, size, _state(entry, settings))
    Console().print(table)
    for entry in entries:
        click.echo(f"{entry.name}: {entry.good_at or entry.kind}; licence {entry.licence}")
    click.echo(f"Weights are in {settings.models_dir}.")
    closed = sorted({entry.licence for entry in entries if not entry.licence_is_open})
    click.echo(
        "A model with a licence that is not open loads only after you accept the licence, for "
        f"example with FACEMEND_ACCEPTED_LICENCES={GPEN_LICENCE}:"
    )
    for licence in closed:
        click.echo(f"  {licence}: {LICENCES.get(licence, 'as its operator stated it')}")


@models.command("pull", epilog=_EPILOG)
@click.argument("names", nargs=-1, required=True, metavar="NAME...")
@click.option(
    "--from",
    "mirror",
    metavar="PLACE",
    help="A mirror with the file: https://…, s3://bucket/prefix or a folder.  "
    "[default: FACEMEND_MODELS_URL, else the published address]",
)
def pull_models(names: tuple[str, ...], mirror: str | None) -> None:
    """Download weights. An interrupted download is resumed."""
    with errors_as_exit_codes():
        settings = load_settings()
        for name in names:
            _pull(_known(name), settings, mirror or settings.models_url)


@models.command("verify", epilog=_EPILOG)
@click.argument("names", nargs=-1, metavar="[NAME]...")
def verify_models(names: tuple[str, ...]) -> None:
    """Verify the hash of every installed file, or only of the models NAME."""
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


def _pull(entry: ModelEntry, settings: Settings, mirror: str | None) -> None:
    if entry.bundled:
        click.echo(f"{entry.name} comes with the package: there is nothing to pull")
        return
    _tell(entry)
    source = choose_source(entry, mirror, lambda: _connect_s3(settings))
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
            "  No hash was published for this file. The hash of this download is recorded beside "
            "it, and the file must have it from now on."
        )
    if not entry.licence_is_open:
        click.echo(
            f"  Its licence is {entry.licence}, which is not an open one. If you may use it, set "
            f"FACEMEND_ACCEPTED_LICENCES={entry.licence}"
        )


def _tell(entry: ModelEntry) -> None:
    """Say what is about to be downloaded, in a line for each of licence, size and use."""
    click.echo(f"{entry.name}: {entry.good_at or entry.kind}")
    click.echo(f"  licence: {LICENCES.get(entry.licence, entry.licence)}")
    size = "not published" if entry.bytes is None else f"{entry.bytes / 1e6:.0f} MB"
    click.echo(f"  size: {size}")
    if not entry.confirmed:
        click.echo("  unverified: fewer than two public sources give its address and hash")


def _verify(entry: ModelEntry, models_dir: Path) -> tuple[str, str]:
    """Return the hash of the file, and what it was compared with."""
    path = entry.path(models_dir)
    if not path.is_file():
        raise WeightsMissing(f"not at {path}; {entry.install_hint}")
    known = expected_sha256(entry, path)
    origin = "as published" if entry.sha256 else "as recorded" if known else "recorded now"
    return verify(entry, path), origin


def _entries(names: Iterable[str], models_dir: Path) -> list[ModelEntry]:
    """Return the models with these names, or all that are installed."""
    if names:
        return [find_entry(name, models_dir) for name in names]
    entries = (*CATALOGUE.values(), *added_entries(models_dir))
    return [entry for entry in entries if entry.path(models_dir).is_file()]


def _known(name: str) -> ModelEntry:
    if name not in CATALOGUE:
        raise ModelUnavailable(f"there is no model {name!r}; known are {', '.join(CATALOGUE)}")
    return CATALOGUE[name]


def _state(entry: ModelEntry, settings: Settings) -> str:
    path = entry.path(settings.models_dir)
    if entry.bundled:
        return "comes with the package" if path.is_file() else "missing"
    if path.is_file():
        return "yes"
    part = path.with_name(path.name + ".part")
    return f"{part.stat().st_size / 1e6:.0f} MB so far" if part.is_file() else "no"


def _connect_s3(settings: Settings) -> Any:
    """Return a boto3 client with the settings of our own storage, which is the operator's too."""
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
