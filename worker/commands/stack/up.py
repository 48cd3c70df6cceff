"""``facemend up``: the whole service on this machine, until Ctrl-C."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

import click

from deploy.embedded.child_process import PRIVATE_UMASK
from deploy.embedded.stack import SIGN_IN_S, Stack, default_folder
from shared.errors import FacemendError
from shared.stop_signals import stop_event
from worker.commands.exit_codes import (
    EXIT_INTERRUPTED,
    EXIT_UNAVAILABLE,
    exit_code_of,
    exit_codes_help,
)

_EPILOG = exit_codes_help(
    EXIT_UNAVAILABLE,
    EXIT_INTERRUPTED,
    ok="stopped by Ctrl-C or SIGTERM",
    failed="the stack does not start, or lost a part; the message says why",
)


@click.command(epilog=_EPILOG)
@click.option(
    "--data",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder for data, logs and secrets.  [default: ~/.local/share/facemend]",
)
@click.option(
    "--port", type=click.IntRange(1, 55_535), help="Port of the API.  [default: a free one]"
)
def up(data: Path | None, port: int | None) -> None:
    """Start the whole service on this machine, without Docker.

    Redis (Valkey), S3 (SeaweedFS), API, worker and notifier run as child processes on loopback;
    whatever dies is started again. Prints address, API key, and a link to the page that signs you
    in. Ctrl-C (or SIGTERM) finishes what
    is in hand, then stops everything; a second Ctrl-C stops at once. Data and key stay for the
    next start.

    Settings of worker and API come from the environment, for example FACEMEND_DEVICE=cuda or
    FACEMEND_SERVED_MODELS=facemend-starter,gpen-bfr-512.
    """
    os.umask(PRIVATE_UMASK)
    stack = Stack(data or default_folder(), say=_say, api_port=port)
    try:
        with interrupted_by_signals():
            stack.start()
    except FacemendError as error:
        click.echo(f"facemend up: {error.detail}", err=True)
        sys.exit(exit_code_of(error))
    except KeyboardInterrupt:
        click.echo("stopped while starting", err=True)
        sys.exit(EXIT_INTERRUPTED)
    _greet(stack)
    sys.exit(_keep_up(stack))


def _keep_up(stack: Stack) -> int:
    with stop_event(_say_stopping, on_another=stack.kill) as stop:
        try:
            stack.watch(stop)
        except FacemendError as error:
            click.echo(f"facemend up: {error.detail}", err=True)
            return exit_code_of(error)
        finally:
            stack.stop()
            _say("stopped")
    return 0


def _say_stopping() -> None:
    _say("stopping: finishing what is in hand (Ctrl-C again: at once)")


@contextmanager
def interrupted_by_signals() -> Iterator[None]:
    """Inside, SIGTERM ends things as Ctrl-C does: by KeyboardInterrupt."""

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = {
        number: signal.signal(number, interrupt) for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _say(line: str) -> None:
    click.echo(f"  {line}")


def _greet(stack: Stack) -> None:
    metrics = "".join(
        f"\n  metrics         http://127.0.0.1:{port}/metrics ({name})"
        for name, port in stack.metrics_ports.items()
    )
    click.echo(
        f"""
Facemend is up.
  address         {stack.url}
  page, signed in {stack.sign_in_link()}
                  (the link is for you; it ends after {SIGN_IN_S // 3600} hours)
  reference       {stack.url}/docs
  API key         {stack.api_key}
  webhook secret  {stack.webhook_secret}
  data and logs   {stack.folder}{metrics}

  curl -H "Authorization: Bearer {stack.api_key}" -F image=@photo.jpg {stack.url}/v1/restorations

Ctrl-C stops it."""
    )
    sys.stdout.flush()
