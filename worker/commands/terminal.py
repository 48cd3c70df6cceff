"""Lines for the terminal, which the names of files cannot control."""

from __future__ import annotations

import re

import click

#: Characters of a file name that would control the terminal, break a line or turn the text round.
_CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u200e\u200f\u202a-\u202e\u2066-\u2069]")


def say(text: str, *, err: bool = False) -> None:
    """Print one line."""
    click.echo(shown(text), err=err)


def shown(text: str) -> str:
    """Return the text without characters that control a terminal."""
    return _CONTROLS.sub("?", text)
