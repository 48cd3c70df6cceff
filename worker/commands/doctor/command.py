"""``facemend doctor``: what is installed and reachable, and the next thing to do."""

from __future__ import annotations

import json
import sys
import warnings
from dataclasses import asdict

import click
from rich.console import Console
from rich.markup import escape
from rich.table import Column, Table

from shared.settings import load_settings
from worker.commands.doctor.checks import Finding, examine, worst
from worker.commands.exit_codes import EXIT_MODEL, errors_as_exit_codes

_COLOURS = {"ok": "green", "warn": "yellow", "fail": "red"}


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print the findings as JSON.")
def doctor(*, as_json: bool) -> None:
    """Look at packages, devices, weights, backends, models, Redis and storage.

    Each line is ok, warn or fail, with the next thing to do. Exit codes: 0 nothing failed, 2 a
    setting is wrong, 3 something failed.
    """
    warnings.simplefilter("ignore")  # of libraries, about themselves
    with errors_as_exit_codes():
        findings = list(examine(load_settings()))
    if as_json:
        click.echo(json.dumps([asdict(finding) for finding in findings], indent=2))
    else:
        _print(findings)
    if worst(findings) == "fail":
        sys.exit(EXIT_MODEL)


def _print(findings: list[Finding]) -> None:
    table = Table(
        "part",
        Column("what", no_wrap=True),
        "is",
        Column("found", overflow="fold"),
        Column("next", overflow="fold"),
    )
    for finding in findings:
        level = f"[{_COLOURS[finding.level]}]{finding.level}[/]"
        table.add_row(
            finding.part, finding.name, level, escape(finding.found), escape(finding.next)
        )
    Console().print(table)
    counts = [sum(each.level == level for each in findings) for level in ("ok", "warn", "fail")]
    click.echo("{} ok, {} warn, {} fail".format(*counts))
