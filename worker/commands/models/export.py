"""``facemend export``: writes a model to a file for another runtime."""

from __future__ import annotations

from pathlib import Path

import click

from shared.settings import load_settings
from worker.commands.exit_codes import EXIT_MODEL, errors_as_exit_codes, exit_codes_help

_SUFFIXES = {"onnx": ".onnx", "openvino": ".xml"}


@click.command(epilog=exit_codes_help(EXIT_MODEL))
@click.argument("model")
@click.option(
    "--format",
    "form",
    type=click.Choice(list(_SUFFIXES)),
    default="onnx",
    show_default=True,
    help="onnx: one .onnx file; openvino: an .xml file and a .bin file beside it.",
)
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    help="The file to write.  [default: MODEL.onnx or MODEL.xml]",
)
def export(*, model: str, form: str, output: Path | None) -> None:
    """Write MODEL as a graph. Input and output: float RGB in [-1, 1], (batch, 3, size, size).

    The graph accepts any batch size. The file is kept only if its output is that of torch. The
    service does not need this command: it makes its own exports.
    """
    file = output or Path(f"{model}{_SUFFIXES[form]}")
    if file.suffix != _SUFFIXES[form]:
        raise click.UsageError(f"{file}: a file in format {form} ends with {_SUFFIXES[form]}.")
    with errors_as_exit_codes():
        settings = load_settings()
        from worker.engine.backends.export import export as write
        from worker.engine.load import open_artifact_cache

        artifacts = open_artifact_cache(
            model, models_dir=settings.models_dir, accepted_licences=settings.accepted_licences
        )
        error = write(artifacts.graph, artifacts.self_check, form, file)
    click.echo(f"{file}: error {error:.2g} against torch (relative L2, float32)")
