"""The man pages of ``facemend`` and its commands, from their ``--help``, by click-man.

click-man does not know the mark of click for text that is not to be filled, and leaves out the text
below the options (the exit codes). Both are added here.
"""

from __future__ import annotations

import copy
import inspect
import re
from importlib.metadata import entry_points
from pathlib import Path

import click
from click_man.core import generate_man_page

_NOT_FILLED = re.compile(r"(?m)^\x08\n((?:.+\n?)*)")
_CONTROL = re.compile(r"(?m)^(?=[.'])")  # at the start of a line, a request of troff
_FIRST_SENTENCE_ENDS = re.compile(r"\.\s|\n\n")


def write_man_pages(folder: Path, version: str, date: str) -> list[Path]:
    """Write the pages into ``folder``, and return them. ``date`` is that of the release."""
    folder.mkdir(parents=True, exist_ok=True)
    (program,) = entry_points(group="console_scripts", name="facemend")
    facemend: click.Group = program.load()
    with click.Context(facemend, info_name="facemend") as context:
        names = facemend.list_commands(context)
        found = {name: facemend.get_command(context, name) for name in names}
    commands = {name: _prepared(command) for name, command in found.items() if command is not None}
    whole = click.Group("facemend", commands=commands, params=facemend.params, help=facemend.help)
    return _write(_prepared(whole), None, folder, version, date)


def _prepared(command: click.Command) -> click.Command:
    """Return a copy with a whole first sentence as its short help, and with its text for troff."""
    prepared = copy.copy(command)
    text = inspect.cleandoc(command.help or "")
    prepared.short_help = " ".join(_FIRST_SENTENCE_ENDS.split(text)[0].split()).rstrip(".")
    prepared.help = _escaped(text)
    if isinstance(prepared, click.Group):
        prepared.commands = {name: _prepared(each) for name, each in prepared.commands.items()}
    return prepared


def _write(
    command: click.Command, parent: click.Context | None, folder: Path, version: str, date: str
) -> list[Path]:
    with click.Context(command, info_name=command.name, parent=parent) as context:
        page = generate_man_page(context, version=version, date=date)
        if command.epilog:
            page += f".SH NOTES\n{_escaped(inspect.cleandoc(command.epilog))}\n"
        path = folder / f"{context.command_path.replace(' ', '-')}.1"
        path.write_text(_NOT_FILLED.sub(r".nf\n\1\n.fi\n", page).replace("\n\n", "\n"))
        below = command.commands.values() if isinstance(command, click.Group) else ()
        pages = [_write(each, context, folder, version, date) for each in below if not each.hidden]
    return [path, *(page for each in pages for page in each)]


def _escaped(text: str) -> str:
    return _CONTROL.sub(r"\\&", text.replace("\\", r"\e"))
