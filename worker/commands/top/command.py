"""``facemend top``: queues, workers, failures and webhooks, drawn again every second."""

from __future__ import annotations

import time
from pathlib import Path

import click
from rich.console import Console
from rich.live import Live
from rich.text import Text

from shared.errors import Unavailable
from shared.jobs.store import JobStore
from worker.commands.exit_codes import (
    EXIT_INTERRUPTED,
    EXIT_UNAVAILABLE,
    errors_as_exit_codes,
    exit_codes_help,
)
from worker.commands.operators.service_settings import data_option, service_settings
from worker.commands.top.screen import draw
from worker.commands.top.snapshot import read_snapshot


@click.command(epilog=exit_codes_help(EXIT_UNAVAILABLE, EXIT_INTERRUPTED))
@click.option("--once", is_flag=True, help="Print the view once, and end.")
@click.option(
    "--every",
    "every_s",
    type=click.FloatRange(min=0.2),
    default=1.0,
    show_default=True,
    metavar="SECONDS",
    help="How often it is drawn again.",
)
@data_option
def top(once: bool, every_s: float, data: Path | None) -> None:
    """Watch the service: queues, workers, last failures, webhooks.

    It reads the records in Redis (FACEMEND_REDIS_URL) and changes nothing. Ctrl-C ends it.
    """
    console = Console()
    with errors_as_exit_codes(), service_settings(data) as settings:
        store = JobStore.connect(settings)
        first = draw(read_snapshot(store))
        if once:
            console.print(first)
            return
        _watch(console, store, every_s)


def _watch(console: Console, store: JobStore, every_s: float) -> None:
    """Draw until Ctrl-C. While Redis is away, say so and try again."""
    with Live(console=console, screen=True, auto_refresh=False) as live:
        while True:
            try:
                live.update(draw(read_snapshot(store)), refresh=True)
            except Unavailable as error:
                live.update(Text(f"waiting: {error.detail}", "bold red"), refresh=True)
            time.sleep(every_s)
