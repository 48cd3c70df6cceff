"""``facemend bench``: measures which backend is the fastest on this machine."""

from __future__ import annotations

import click
from rich.console import Console
from rich.table import Table

from shared.errors import FacemendError
from shared.settings import load_settings
from worker.commands.exit_codes import EXIT_MODEL, errors_as_exit_codes, exit_codes_help, line_of


@click.command(epilog=exit_codes_help(EXIT_MODEL))
@click.argument("model", required=False)
@click.option(
    "--keep", is_flag=True, help="Save the times: backend auto uses them on this machine."
)
@click.option(
    "--max-batch",
    type=click.IntRange(1, 256),
    help="Largest batch size to measure.  [default: FACEMEND_MAX_BATCH]",
)
def bench(*, model: str | None, keep: bool, max_batch: int | None) -> None:
    """Measure MODEL in each installed backend and precision, with the best batch size of each.

    MODEL is the default model if it is not given.
    """
    with errors_as_exit_codes():
        settings = load_settings()
        from worker.engine.backends.backend_selection import artifact_folder
        from worker.engine.backends.measure_backends import measure_backends
        from worker.engine.backends.measured_times import (
            OWN_NAME,
            MeasuredTime,
            write_measured_times,
        )
        from worker.engine.devices import choose_device
        from worker.engine.load import open_artifact_cache

        artifacts = open_artifact_cache(
            model or settings.default_model,
            models_dir=settings.models_dir,
            accepted_licences=settings.accepted_licences,
        )
        device = choose_device(settings.device)
        table = Table("backend", "precision", "ms per face", "batch size")
        times: list[MeasuredTime] = []
        for found in measure_backends(artifacts, device, max_batch or settings.max_batch):
            if isinstance(found, FacemendError):
                click.echo(line_of(found), err=True)
                continue
            times.append(found)
            table.add_row(
                found.backend, found.precision, f"{found.ms_per_face:.1f}", str(found.batch)
            )
        Console().print(table)
        if keep:
            file = artifact_folder(settings.models_dir) / OWN_NAME
            write_measured_times(file, times)
            click.echo(f"Saved in {file}: backend auto uses these times from now on.")
