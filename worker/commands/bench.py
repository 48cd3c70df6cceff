"""``facemend bench``: which backend is the fastest on this machine."""

from __future__ import annotations

import click
from rich.console import Console
from rich.table import Table

from shared.errors import FacemendError
from shared.settings import load_settings
from worker.commands.exit_codes import errors_as_exit_codes, line_of


@click.command()
@click.argument("model", required=False)
@click.option("--keep", is_flag=True, help="Let backend auto go by these times, on this machine.")
@click.option("--max-batch", type=click.IntRange(1, 256), help="[default: FACEMEND_MAX_BATCH]")
def bench(*, model: str | None, keep: bool, max_batch: int | None) -> None:
    """Time MODEL in each backend and precision that is installed, in batches of the best size."""
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
        table = Table("backend", "precision", "ms a face", "in batches of")
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
            click.echo(f"Kept in {file}: backend auto goes by it from now on.")
