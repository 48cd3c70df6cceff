"""``facemend submit``: the photos of a folder, by a service."""

from __future__ import annotations

import json
import os
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import click

from facemend.folder.run import DONE_BEFORE, PhotoOutcome, Report
from worker.commands.exit_codes import (
    EXIT_INTERRUPTED,
    EXIT_PHOTO_FAILED,
    EXIT_UNAVAILABLE,
    exit_codes_help,
)
from worker.commands.restore.option_flags import given_options, restore_option_flags
from worker.commands.server import errors_of_the_server, server_options
from worker.commands.terminal import say

_PATIENCE_S = 600.0  # a service that is restarted loses nobody
_EPILOG = """
\b
Examples:
  facemend submit album -o mended --server https://facemend.example --api-key fm_live_…
  FACEMEND_API_KEY=fm_live_… facemend submit album -o mended --server https://facemend.example -r

Run it again after an interruption: photos that are done are skipped, and photos that were sent are
not sent again.

""" + exit_codes_help(
    EXIT_UNAVAILABLE,
    EXIT_INTERRUPTED,
    ok="every photo was restored (or has no face)",
    failed="some photo failed; the others are done",
)


@click.command(epilog=_EPILOG)
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option(
    "-o",
    "--output",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder for the results.  [default: output_FOLDER beside it]",
)
@server_options(required=True)
@click.option("-r", "--recursive", is_flag=True, help="Restore the subfolders, too.")
@click.option(
    "--resume/--no-resume",
    default=True,
    show_default=True,
    help="Skip photos that were restored before in the same way and have not changed.",
)
@click.option(
    "--in-flight",
    type=click.IntRange(1, 256),
    default=8,
    show_default=True,
    help="Photos that are sent, restored or fetched at a time.",
)
@click.option("-m", "--model", help="Name of the model.  [default: that of the service]")
@click.option(
    "--format",
    "output_format",
    type=click.Choice(["same", "png", "jpeg", "webp"]),
    default="same",
    show_default=True,
    help="Format of the results.",
)
@click.option(
    "--priority",
    type=click.Choice(["high", "normal", "low"]),
    default="normal",
    show_default=True,
    help="Which jobs go first.",
)
@restore_option_flags
@click.option("--json", "as_json", is_flag=True, help="Print what was done as JSON.")
def submit(
    *,
    folder: Path,
    output: Path | None,
    server: str,
    api_key: str,
    recursive: bool,
    resume: bool,
    in_flight: int,
    model: str | None,
    output_format: Any,
    priority: Any,
    as_json: bool,
    **options: Any,
) -> None:
    """Restore the photos of FOLDER by a service, and write the results into another folder.

    Nothing is installed or computed here: photos are sent over HTTP, and the results are fetched.
    """
    from facemend.client import Client

    here = folder.resolve()
    target = output or here.with_name(f"output_{here.name}")
    with (
        errors_of_the_server(),
        Client(server, api_key, patience_s=_PATIENCE_S) as client,
        _Progress(visible=not as_json) as progress,
    ):
        report = client.batch(
            folder,
            target,
            recursive=recursive,
            resume=resume,
            in_flight=in_flight,
            on_outcome=progress.show,
            model=model,
            output_format=output_format,
            priority=priority,
            **given_options(options),
        )
    if as_json:
        click.echo(json.dumps([outcome.as_dict() for outcome in report.outcomes], indent=2))
    else:
        _print(report, target)
    if report.of("failed"):
        sys.exit(EXIT_PHOTO_FAILED)


class _Progress:
    """A line on the terminal that counts photos."""

    def __init__(self, *, visible: bool) -> None:
        self._visible = visible and sys.stderr.isatty()
        self._counts: Counter[str] = Counter()

    def __enter__(self) -> _Progress:
        return self

    def __exit__(self, *exception: object) -> None:
        if self._visible and self._counts:
            click.echo(err=True)

    def show(self, outcome: PhotoOutcome) -> None:
        self._counts[outcome.status] += 1
        if self._visible:
            said = ", ".join(f"{count} {status}" for status, count in self._counts.items())
            click.echo(f"\r\x1b[K{said}", nl=False, err=True)


def _print(report: Report, output: Path) -> None:
    for outcome in report.of("failed"):
        say(f"{outcome.photo}: {outcome.reason}", err=True)
    for outcome in report.outcomes:
        for warning in outcome.job.warnings if outcome.job else ():
            say(f"{outcome.photo}: {warning}", err=True)
    counts = Counter(outcome.status for outcome in report.outcomes)
    said = [
        f"{counts[status]} {status}" for status in ("restored", "unchanged", "skipped", "failed")
    ]
    reasons = Counter(outcome.reason for outcome in report.of("skipped"))
    why = "; ".join(f"{count} {reason}" for reason, count in reasons.items())
    say(", ".join(said) + (f" (skipped: {why})" if why else ""))
    say(f"Results: {output}{os.sep}")
    if DONE_BEFORE in reasons:
        say("What was done before is kept: --no-resume restores it again.")
    if report.left_out:
        say(f"{report.left_out} subfolder(s) were left out: --recursive restores them, too.")
