"""``facemend watch``: restore the photos that arrive in a folder."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

from facemend.folder.record import Record
from facemend.folder.result_names import ResultNames
from shared.stop_signals import stop_event
from worker.commands.exit_codes import (
    EXIT_MODEL,
    EXIT_PHOTO_FAILED,
    EXIT_UNAVAILABLE,
    errors_as_exit_codes,
    exit_codes_help,
)
from worker.commands.restore.option_flags import given_options, restore_option_flags
from worker.commands.server import errors_of_the_server, server_options
from worker.commands.terminal import say
from worker.commands.watch.location import FolderOrLocation, Location

_EVERY_S = {False: 5.0, True: 30.0}  # of a folder; of a bucket, which costs money for each look
_PATIENCE_S = 20.0  # then the loop says that the service is away, and goes on trying

_EPILOG = """
\b
Examples:
  facemend watch scans mended                       with the engine on this machine
  facemend watch scans mended --server URL          by a service (key in FACEMEND_API_KEY)
  facemend watch scans mended --once                what is there now, then end
  facemend watch s3://scans/new s3://scans/mended   objects of a bucket, in both places

A photo is restored when its size and its time of change have been the same for --settle seconds.
Hidden files and files with other suffixes (.part, .tmp) are left alone. What was restored is noted
in the folder of the results and is not restored again, also after a restart. A photo that cannot
be restored is moved to --failed, with the reason in a .txt file beside it. If the service is away,
a disk is full or a folder is gone, the command says so, waits, and goes on.

IN and OUT may be s3://bucket/prefix, with the settings FACEMEND_S3_… or those of AWS. An object
counts as a photo once for each ETag. One that fails stays, and is copied to --failed. Run one
command for each OUT in a bucket.

""" + exit_codes_help(
    EXIT_MODEL,
    EXIT_UNAVAILABLE,
    ok="stopped by Ctrl-C or SIGTERM; with --once: everything is done",
    failed="with --once: some photo failed and was moved",
)


@click.command(epilog=_EPILOG)
@click.argument("inbox", metavar="IN", type=FolderOrLocation(exists=True))
@click.argument("output", metavar="OUT", type=FolderOrLocation())
@server_options(required=False)
@click.option("-r", "--recursive", is_flag=True, help="Watch the subfolders, too.")
@click.option(
    "--failed",
    type=FolderOrLocation(),
    help="Folder for photos that cannot be restored, on the disk or in the bucket of IN.  "
    "[default: IN/failed]",
)
@click.option(
    "--settle",
    "settle_s",
    type=click.FloatRange(0.1, 3600),
    default=3.0,
    show_default=True,
    help="Seconds without a change after which a photo is whole.",
)
@click.option(
    "--every",
    "every_s",
    type=click.FloatRange(0.1, 3600),
    help="Seconds between two looks, if no change is noticed before.  "
    "[default: 5; 30 for a bucket]",
)
@click.option("--once", is_flag=True, help="End when everything that is there now is done.")
@click.option("-m", "--model", help="Name of the model.  [default: of settings or service]")
@restore_option_flags
def watch(
    *,
    inbox: Path | Location,
    output: Path | Location,
    server: str | None,
    api_key: str | None,
    recursive: bool,
    failed: Path | Location | None,
    settle_s: float,
    every_s: float | None,
    once: bool,
    model: str | None,
    **options: Any,
) -> None:
    """Watch IN, and restore each photo that arrives there into OUT.

    IN and OUT are folders, or prefixes of buckets (s3://bucket/prefix). Photos are restored on this
    machine, or by a service if --server is given.
    """
    from worker.commands.watch.places import Chosen, opened
    from worker.commands.watch.watching import Watching

    chosen = Chosen(
        inbox=inbox, output=output, failed=failed, recursive=recursive, settle_s=settle_s
    )
    with errors_as_exit_codes(), errors_of_the_server(), opened(chosen) as places:
        folder = (places.record, places.names)
        restorer = (
            _by_service(server, api_key, model, options, folder)
            if server
            else _by_engine(model, options, folder)
        )
        with restorer as (restore, in_flight):
            watching = Watching(
                places.inbox,
                places.output,
                *folder,
                restore,
                say,
                in_flight,
                every_s or _EVERY_S[isinstance(inbox, Location)],
                places.show_result,
            )
            with stop_event(_say_stopping, on_another=_interrupt) as stop:
                say(f"watching {places.inbox.where}; results go to {output}")
                watching.run(stop, once=once)
    sys.exit(EXIT_PHOTO_FAILED if once and watching.failures else 0)


@contextmanager
def _by_engine(
    model: str | None, options: dict[str, Any], folder: tuple[Record, ResultNames]
) -> Iterator[tuple[Any, int]]:
    from shared.settings import load_settings
    from worker.commands.restore.batch import BatchOptions
    from worker.commands.restore.engine import open_engine, own_limits
    from worker.commands.watch.by_engine import ByEngine
    from worker.engine import FaceOptions

    settings = load_settings()
    if model:
        settings = settings.model_copy(update={"default_model": model})
    face_options = FaceOptions(**options, crops=False)
    limits = own_limits(settings)
    how = BatchOptions(options=face_options, max_bytes=limits.max_bytes)
    with open_engine(settings, how, limits) as batch:
        yield ByEngine(batch, *folder), 4


@contextmanager
def _by_service(
    server: str,
    api_key: str | None,
    model: str | None,
    options: dict[str, Any],
    folder: tuple[Record, ResultNames],
) -> Iterator[tuple[Any, int]]:
    from facemend.client import Client
    from facemend.folder.run import PhotosByService
    from worker.commands.watch.restorers import ByService

    if not api_key:
        raise click.UsageError("--server needs --api-key, or FACEMEND_API_KEY.")
    request = {**({"model": model} if model else {}), **given_options(options)}
    with Client(server, api_key, patience_s=_PATIENCE_S) as client:
        client.list(limit=1)  # a wrong address or key ends the command here
        yield ByService(client, PhotosByService(client.operations, request, *folder)), 8


def _say_stopping() -> None:
    say("stopping: finishing what is in hand")


def _interrupt() -> None:
    raise KeyboardInterrupt
