"""Which service a command sends photos to, and its errors as exit codes."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import click

from worker.commands.exit_codes import (
    EXIT_INTERRUPTED,
    EXIT_PHOTO_FAILED,
    EXIT_UNAVAILABLE,
    EXIT_USAGE,
)
from worker.commands.terminal import say


def server_options(*, required: bool) -> Callable[[Any], Any]:
    """Add ``--server`` and ``--api-key``."""

    def add(command: Any) -> Any:
        with_key = click.option(
            "--api-key",
            required=required,
            envvar="FACEMEND_API_KEY",
            help="Its API key; better in FACEMEND_API_KEY, because other users of this machine "
            "see command lines.",
        )(command)
        return click.option(
            "--server",
            required=required,
            envvar="FACEMEND_SERVER",
            help="Address of the service, such as https://facemend.example (or FACEMEND_SERVER).",
        )(with_key)

    return add


@contextmanager
def errors_of_the_server() -> Iterator[None]:
    """Turn an error of the client into one line on stderr and its exit code."""
    from facemend.errors import (
        ClientError,
        ProblemError,
        QueueFull,
        RateLimited,
        ServiceError,
        Unavailable,
        UnexpectedAnswer,
        Unreachable,
    )

    away = (Unreachable, UnexpectedAnswer, Unavailable, RateLimited, QueueFull, ServiceError)
    try:
        yield
    except away as error:
        _end(error, EXIT_UNAVAILABLE)
    except (ProblemError, ValueError) as error:
        _end(error, EXIT_USAGE)
    except (ClientError, OSError) as error:
        _end(error, EXIT_PHOTO_FAILED)
    except KeyboardInterrupt:
        click.echo("interrupted; run it again to go on", err=True)
        sys.exit(EXIT_INTERRUPTED)


def _end(error: Exception, code: int) -> None:
    say(" ".join(str(error).split()), err=True)
    sys.exit(code)
