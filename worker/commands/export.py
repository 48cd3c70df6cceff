"""``facemend export``: a model as a file for other runtimes."""

from __future__ import annotations

from pathlib import Path

import click

from shared.settings import load_settings
from worker.commands.failure import errors_as_exit_codes

_SUFFIXES = {"onnx": ".onnx", "openvino": ".xml"}


@click.command()
@click.argument("model")
@click.option(
    "--format",
    "form",
    type=click.Choice(list(_SUFFIXES)),
    default="onnx",
    show_default=True,
    help="What to write: one .onnx file, or OpenVINO's .xml with a .bin beside it.",
)
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    help="The file.  [default: MODEL.onnx or MODEL.xml]",
)
def export(*, model: str, form: str, output: Path | None) -> None:
    """Write MODEL as a graph: float RGB in [-1, 1], (batch, 3, size, size), in and out.

    The scales are folded into the weights, and any batch size will do. The file is compared with
    torch before it is kept. The service makes its own exports when it needs them.
    """
    file = output or Path(f"{model}{_SUFFIXES[form]}")
    if file.suffix != _SUFFIXES[form]:
        raise click.UsageError(f"{file}: a file in format {form} ends with {_SUFFIXES[form]}.")
    with errors_as_exit_codes():
        settings = load_settings()
        from worker.engine.backends.export import export as write
        from worker.engine.load import open_shelf

        shelf = open_shelf(
            model, models_dir=settings.models_dir, accepted_licences=settings.accepted_licences
        )
        error = write(shelf.generator, shelf.proof, form, file)
    click.echo(f"{file}: error {error:.2g} against torch (relative L2, float32)")
