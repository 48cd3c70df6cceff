"""How commands end: exit codes, and one clear line for each error of ours."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

import click

from shared.errors import EngineError, FacemendError, RequestError, SettingsInvalid

EXIT_OK = 0
EXIT_PHOTO_FAILED = 1
EXIT_USAGE = 2
EXIT_MODEL = 3


def line_of(error: FacemendError) -> str:
    """``code: detail``, in one line."""
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
    """2 for a wrong setting, 3 for a model or its weights, 1 for a photo."""
    if isinstance(error, SettingsInvalid):
        return EXIT_USAGE
    if isinstance(error, EngineError | RequestError):
        return EXIT_MODEL
    return EXIT_PHOTO_FAILED
