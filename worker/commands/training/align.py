"""``facemend align``: from raw photos to the aligned crops that a training wants."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import click

from shared.errors import DatasetError
from shared.settings import load_settings
from worker.commands.exit_codes import errors_as_exit_codes


@click.command()
@click.argument("source", type=click.Path(path_type=Path))
@click.argument("target", type=click.Path(path_type=Path))
@click.option("--size", type=click.IntRange(32, 2048), default=256, show_default=True)
@click.option("--template", type=click.Choice(["ffhq", "gpen"]), default="ffhq", show_default=True)
@click.option(
    "--threshold",
    type=click.FloatRange(0.5, 1.0),
    default=0.9,
    show_default=True,
    help="How sure the detector has to be.",
)
@click.option(
    "--most-enlarged",
    type=click.FloatRange(0.1),
    default=1.3,
    show_default=True,
    help="Skip faces that would have to be enlarged more: they have no detail to learn from.",
)
@click.option(
    "--least-sharpness",
    type=click.FloatRange(0.0),
    default=0.0,
    show_default=True,
    help="Skip crops whose Laplacian has a smaller variance; the manifest has each one's.",
)
@click.option("--frontal", is_flag=True, help="Skip profiles.")
def align(
    *,
    source: Path,
    target: Path,
    size: int,
    template: str,
    threshold: float,
    most_enlarged: float,
    least_sharpness: float,
    frontal: bool,
) -> None:
    """Cut every face of the photos in SOURCE into TARGET, and write TARGET/manifest.csv.

    The manifest has a line for each face, with the reason if it was skipped.

    Exit codes: 0 some faces were cut, 1 none was, 2 wrong command or folder, 3 detector.
    """
    from worker.engine.devices import choose_device
    from worker.engine.load import load_detector
    from worker.training.data.align import AlignOptions, align_folder

    options = AlignOptions(size, template, threshold, most_enlarged, least_sharpness, frontal)
    with errors_as_exit_codes():
        settings = load_settings()
        detector = load_detector(settings.models_dir, choose_device(settings.device))
        try:
            lines = align_folder(source, target, detector, options)
        except DatasetError as error:
            raise click.UsageError(str(error)) from None
    cut = sum(bool(line.crop) for line in lines)
    reasons = Counter(line.skipped.partition(":")[0] for line in lines if line.skipped)
    click.echo(f"{cut} faces in {target}")
    for reason, count in reasons.most_common():
        click.echo(f"{count} skipped: {reason}")
    if not cut:
        raise SystemExit(1)
