"""``facemend train``: a restorer of one's own, from an archive of face photos."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any

import click

from shared.errors import DatasetError
from worker.commands.exit_codes import errors_as_exit_codes

_EPILOG = """
\b
Examples:
  facemend train --photos train.zip --validation val.zip --out run --minutes 60
  facemend train --photos train.zip --validation val.zip --out run --resume
  facemend train --config run.yaml --preset sharpen --init run/best.pt --out sharp
  torchrun --nproc-per-node 2 -m worker.cli train --config run.yaml

\b
Presets set several options: fidelity (near the photo), sharpen (a discriminator's features and
verdict, gently), paper (rates of 100:10:1), constant (0.0016 and 0.0018, never lowered).
A value comes from a flag, else from the YAML file, else from the preset, else from the default.
Exit codes: 0 trained or stopped and saved, 1 photos or the run failed, 2 wrong options, 3 weights.
"""


def _with_options(command: Callable[..., None]) -> Callable[..., None]:
    """One flag for each option of a training; its default is shown, not passed."""
    from worker.training.config import TrainConfig, choices_of, type_of

    for each in reversed(fields(TrainConfig)):
        flag = "--" + each.name.replace("_", "-")
        shown = "" if each.default in (MISSING, None) else f"  [default: {each.default}]"
        text = each.metadata["help"].capitalize() + "." + shown
        kind = type_of(each)
        if kind is bool:
            option = click.option(f"{flag}/--no-{flag[2:]}", each.name, default=None, help=text)
        else:
            choices = choices_of(each.name)
            wanted: Any = click.Choice(choices) if choices else kind
            if kind is Path:
                wanted = click.Path(path_type=Path)
            option = click.option(flag, each.name, type=wanted, help=text)
        command = option(command)
    return command


@click.command(epilog=_EPILOG)
@click.option("--config", "file", type=click.Path(path_type=Path), help="YAML file with options.")
@click.option("--preset", help="fidelity, sharpen, paper or constant.")
@_with_options
def train(file: Path | None, preset: str | None, **flags: Any) -> None:
    """Train a restorer from aligned, square face photos; Ctrl-C and SIGTERM stop and save."""
    from worker.training.config import make_config
    from worker.training.train import train as run

    with errors_as_exit_codes():
        best = run(make_config(flags, file=file, preset=preset), click.echo)
    click.echo(f"best weights in {best}")


@click.command()
@click.option("--photos", type=click.Path(path_type=Path), required=True, help="Folder or ZIP.")
@click.option(
    "--kind",
    type=click.Choice(["classic", "second-order", "old-photo", "mixed"]),
    default="mixed",
    show_default=True,
    help="As facemend train --degradation.",
)
@click.option("--out", type=click.Path(path_type=Path), required=True, help="PNG to write.")
@click.option("--rows", type=click.IntRange(1), default=6, show_default=True, help="Photos.")
@click.option("--columns", type=click.IntRange(1), default=6, show_default=True, help="Copies.")
@click.option("--size", type=click.IntRange(16), default=128, show_default=True, help="Pixels.")
@click.option("--seed", type=click.IntRange(0), default=1, show_default=True)
def degradations(
    *, photos: Path, kind: str, out: Path, rows: int, columns: int, size: int, seed: int
) -> None:
    """Draw a contact sheet: each photo, and copies as a training would degrade them.

    Exit codes: 0 the sheet was written, 1 it could not be written, 2 wrong command or photos.
    """
    from worker.training.data.degraders import degradation_sheet, degrader_named
    from worker.training.data.photos import load_photos
    from worker.training.measure.validation import write_png

    with errors_as_exit_codes():
        try:
            images = load_photos(photos, size).images[:rows]
        except DatasetError as error:
            raise click.UsageError(str(error)) from None
        sheet = degradation_sheet(images, degrader_named(kind), columns=columns, seed=seed)
        write_png(sheet, out)
    click.echo(f"{len(images)} photos, {columns} copies each, in {out}")
