"""Exit codes of the commands, and errors as one line."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

import click

from shared.errors import EngineError, FacemendError, RequestError, SettingsInvalid, Unavailable

EXIT_OK = 0
EXIT_PHOTO_FAILED = 1
EXIT_USAGE = 2
EXIT_MODEL = 3
EXIT_UNAVAILABLE = 4
EXIT_INTERRUPTED = 130

_MEANINGS = {
    EXIT_OK: "done",
    EXIT_PHOTO_FAILED: "failed; the message says why",
    EXIT_USAGE: "the command, an argument or a setting is wrong",
    EXIT_MODEL: "the model or its weights cannot be used",
    EXIT_UNAVAILABLE: "Redis, the object storage or another service does not respond",
    EXIT_INTERRUPTED: "interrupted by Ctrl-C",
}


def exit_codes_help(*codes: int, **meanings: str) -> str:
    """Return the part of ``--help`` about exit codes: 0, 1, 2 and ``codes``.

    A meaning replaces the usual one: ``ok="…"``, ``failed="…"``.
    """
    own = {EXIT_OK: meanings.get("ok"), EXIT_PHOTO_FAILED: meanings.get("failed")}
    lines = [
        f"  {code:<4} {own.get(code) or _MEANINGS[code]}"
        for code in (EXIT_OK, EXIT_PHOTO_FAILED, EXIT_USAGE, *codes)
    ]
    return "\n".join(["\b", "Exit codes:", *lines])


def line_of(error: FacemendError) -> str:
    """Return ``code: detail`` in one line."""
    return f"{error.code}: {' '.join(error.detail.split())}"


@contextmanager
def errors_as_exit_codes() -> Iterator[None]:
    """Turn an error of ours into one line on stderr and its exit code."""
    try:
        yield
    except FacemendError as error:
        click.echo(line_of(error), err=True)
        sys.exit(exit_code_of(error))


def exit_code_of(error: FacemendError) -> int:
    """Return the exit code of an error.

    2: a setting or an argument is wrong; 3: the model or its weights cannot be used; 4: Redis, the
    object storage or another service does not respond; 1: any other error, such as a failed photo.
    """
    if isinstance(error, Unavailable):
        return EXIT_UNAVAILABLE
    if isinstance(error, SettingsInvalid | RequestError):
        return EXIT_USAGE
    if isinstance(error, EngineError):
        return EXIT_MODEL
    return EXIT_PHOTO_FAILED
