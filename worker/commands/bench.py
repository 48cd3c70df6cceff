"""``facemend bench``: which backend is the fastest on this machine."""

from __future__ import annotations

import click
from rich.console import Console
from rich.table import Table

from shared.errors import FacemendError
from shared.settings import load_settings
from worker.commands.failure import errors_as_exit_codes, line_of


@click.command()
@click.argument("model", required=False)
@click.option("--keep", is_flag=True, help="Let backend auto go by these figures, on this machine.")
@click.option("--max-batch", type=click.IntRange(1, 256), help="[default: FACEMEND_MAX_BATCH]")
def bench(*, model: str | None, keep: bool, max_batch: int | None) -> None:
    """Time MODEL in each backend and precision that is installed, in batches of the best size."""
    with errors_as_exit_codes():
        settings = load_settings()
        from worker.engine.backends.measure import measure_backends
        from worker.engine.backends.measured_times import OWN_NAME, Figure, write_figures
        from worker.engine.backends.selection import shelf_folder
        from worker.engine.devices import choose_device
        from worker.engine.load import open_shelf

        shelf = open_shelf(
            model or settings.default_model,
            models_dir=settings.models_dir,
            accepted_licences=settings.accepted_licences,
        )
        device = choose_device(settings.device)
        table = Table("backend", "precision", "ms a face", "in batches of")
        figures: list[Figure] = []
        for found in measure_backends(shelf, device, max_batch or settings.max_batch):
            if isinstance(found, FacemendError):
                click.echo(line_of(found), err=True)
                continue
            figures.append(found)
            table.add_row(
                found.backend, found.precision, f"{found.ms_per_face:.1f}", str(found.batch)
            )
        Console().print(table)
        if keep:
            file = shelf_folder(settings.models_dir) / OWN_NAME
            write_figures(file, figures)
            click.echo(f"Kept in {file}: backend auto goes by it from now on.")
