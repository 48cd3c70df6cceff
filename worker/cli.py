"""``facemend``: the command line. A command's module is imported when that command is run."""

from __future__ import annotations

import importlib
import io
import sys
from typing import Any, ClassVar

import click

from shared.program_version import program_version
from worker.engine.backends.no_telemetry import disable_telemetry

_HELP = """Restore faces in old, blurred or compressed photos.

\b
facemend restore                      try it: the sample photo, degraded and restored
facemend restore photo.jpg            one photo, to output_photo.jpg beside it
facemend restore -i album -o mended   a folder, with a summary
facemend submit album --server URL    a folder, by a service on another machine
facemend watch scans mended           what arrives in a folder, for as long as it runs
facemend up                           the whole service, on this machine

Settings come from FACEMEND_… environment variables or a .env file; docs/operations.md lists them.
"""


_OURS = ("api", "deploy", "facemend", "shared", "worker")
#: The extra that a command needs, where it is not ``worker``.
_EXTRAS = {"demo": "all", "keys": "api", "rebuild": "api", "up": "all"}
#: The same where one package is missing, because most uses of the command do not need it.
_EXTRAS_OF_PACKAGES = {("watch", "boto3"): "service"}


class LazyGroup(click.Group):
    """A group that imports a command only when it runs."""

    #: name → (module:function, line in the list of commands)
    commands_by_name: ClassVar[dict[str, tuple[str, str]]] = {
        "restore": (
            "worker.commands.restore.command:restore",
            "Restore the faces in a photo or a folder.",
        ),
        "submit": (
            "worker.commands.submit:submit",
            "Restore the photos of a folder by a service.",
        ),
        "top": ("worker.commands.top.command:top", "Watch queues, workers, failures and webhooks."),
        "jobs": ("worker.commands.operators.jobs:jobs", "List, show, retry and cancel jobs."),
        "watch": (
            "worker.commands.watch.command:watch",
            "Restore the photos that arrive in a folder.",
        ),
        "keys": ("worker.commands.operators.keys:keys", "Create, list and revoke API keys."),
        "cells": ("worker.commands.operators.cells:cells", "Move tenants to another cell."),
        "tenants": (
            "worker.commands.operators.tenants:tenants",
            "Pin tenants to pools of workers.",
        ),
        "verify": (
            "worker.commands.provenance.verify:verify",
            "Check a result against its signed manifest.",
        ),
        "rebuild": (
            "worker.commands.operators.rebuild:rebuild",
            "Restore jobs and API keys that Redis has lost.",
        ),
        "models": (
            "worker.commands.models.command:models",
            "List, download and verify model weights.",
        ),
        "evaluate": (
            "worker.commands.models.evaluate:evaluate",
            "Measure a model, or restored pictures.",
        ),
        "train": (
            "worker.commands.training.train:train",
            "Train a restorer from an archive of faces.",
        ),
        "align": ("worker.commands.training.align:align", "Cut aligned faces out of raw photos."),
        "degradations": (
            "worker.commands.training.train:degradations",
            "Show how a training degrades photos.",
        ),
        "export": (
            "worker.commands.models.export:export",
            "Write a model to a file for another runtime.",
        ),
        "bench": (
            "worker.commands.models.bench:bench",
            "Find the fastest backend on this machine.",
        ),
        "doctor": (
            "worker.commands.doctor.command:doctor",
            "Check the installation, and say what to do next.",
        ),
        "demo": ("worker.commands.stack.demo:demo", "Send one photo through the whole service."),
        "up": ("worker.commands.stack.up:up", "Run the whole service on this machine."),
    }

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except ModuleNotFoundError as missing:
            raise _not_installed(ctx.invoked_subcommand or "", missing) from None

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands_by_name)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in self.commands_by_name:
            return None
        module, _, name = self.commands_by_name[cmd_name][0].partition(":")
        try:
            command: click.Command = getattr(importlib.import_module(module), name)
        except ModuleNotFoundError as missing:
            raise _not_installed(cmd_name, missing) from None
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (_, line) in self.commands_by_name.items()])


def _not_installed(command: str, missing: ModuleNotFoundError) -> Exception:
    """Return the error of a package that is not installed: one line, which names the extra."""
    package = (missing.name or "").partition(".")[0]
    if package in {"", *_OURS}:
        return missing
    extra = _EXTRAS_OF_PACKAGES.get((command, package)) or _EXTRAS.get(command, "worker")
    return click.ClickException(
        f"{command} needs the package {package}, which is not installed: "
        f"pip install 'facemend[{extra}]'"
    )


def _print_version(ctx: click.Context, _option: click.Parameter, wanted: bool) -> None:
    if wanted:
        click.echo(f"facemend, version {program_version()}")
        ctx.exit()


@click.group(cls=LazyGroup, help=_HELP, context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--version",
    is_flag=True,
    expose_value=False,
    is_eager=True,
    callback=_print_version,
    help="Show the version and exit.",
)
def main() -> None:
    """Run a command."""
    disable_telemetry()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a file name may not fit its encoding
            stream.reconfigure(errors="replace")


if __name__ == "__main__":
    main()
