"""``facemend models add``: adds a restorer of others, an ONNX graph or a network of spandrel."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import click

from shared.settings import load_settings
from worker.commands.exit_codes import EXIT_MODEL, errors_as_exit_codes, exit_codes_help
from worker.imaging.geometry import TEMPLATES
from worker.weights.added_models import NAME, keep
from worker.weights.catalogue import CATALOGUE
from worker.weights.model_entry import Channels, ModelEntry, ValueRange
from worker.weights.verification import file_sha256

if TYPE_CHECKING:
    from worker.engine.backends.artifact_cache import ArtifactCache

_FORMATS = {".onnx": "onnx", ".pth": "spandrel", ".safetensors": "spandrel"}


@click.command(epilog=exit_codes_help(EXIT_MODEL))
@click.argument("file", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option("--size", type=click.IntRange(16, 4096), required=True, help="Side of the input, px.")
@click.option(
    "--output-size", type=click.IntRange(16, 4096), help="Side of the output.  [default: --size]"
)
@click.option(
    "--template",
    type=click.Choice(list(TEMPLATES)),
    required=True,
    help="How faces lie in its training pictures. GFPGAN and RestoreFormer: ffhq.",
)
@click.option(
    "--licence",
    required=True,
    help="Licence of the weights, for example Apache-2.0. You state it; nobody checks it.",
)
@click.option("--name", help="Name of the model.  [default: from FILE]")
@click.option(
    "--range",
    "value_range",
    type=click.Choice(get_args(ValueRange)),
    default="-1..1",
    show_default=True,
    help="Range of the pixels in an ONNX graph, in and out.",
)
@click.option(
    "--channels",
    type=click.Choice(get_args(Channels)),
    default="rgb",
    show_default=True,
    help="Order of the colours in an ONNX graph, in and out.",
)
@click.option("--good-at", default="", help="A line for `facemend models list`.")
def add(*, file: Path, size: int, output_size: int | None, name: str | None, **stated: Any) -> None:
    """Add FILE to the models: .onnx, or GFPGAN or RestoreFormer as .pth or .safetensors.

    The file is run with each installed backend. If its form is not as stated, it is refused.
    Otherwise it is copied to the folder of the models, with an entry NAME.json that has its hash
    and licence.
    """
    if file.suffix not in _FORMATS:
        raise click.UsageError(f"{file}: a file can end with {', '.join(_FORMATS)}.")
    name = name or file.stem.lower().replace("_", "-").replace(" ", "-")
    if not NAME.fullmatch(name) or name == "best":
        raise click.UsageError(f"{name!r} is no name of a model: choose another --name.")
    if name in CATALOGUE:
        raise click.UsageError(f"{name} is a model of the catalogue: choose another --name.")
    with errors_as_exit_codes():
        settings = load_settings()
        entry = ModelEntry(
            name=name,
            file=file.name,
            in_px=size,
            out_px=output_size or size,
            bytes=file.stat().st_size,
            sha256=file_sha256(file),
            format=_FORMATS[file.suffix],  # type: ignore[arg-type]  # its values are formats
            **stated,
        )
        from worker.engine.load import artifacts_of

        _try(artifacts_of(entry, settings.models_dir, file, entry.sha256 or ""))
        kept = keep(entry, file, settings.models_dir)
    click.echo(f"{name}: {kept.path(settings.models_dir)}, sha256 {kept.sha256}")
    if not kept.licence_is_open:
        click.echo(
            f"  Its licence is {kept.licence}, which is not an open one. If you may use it, set "
            f"FACEMEND_ACCEPTED_LICENCES={kept.licence}"
        )


def _try(artifacts: ArtifactCache) -> None:
    """Run the model with each installed backend of the CPU, and say how large the error is."""
    from worker.engine.backends.backend_selection import is_installed, load_backend, precisions
    from worker.engine.devices import CPU

    artifacts.self_check  # noqa: B018  # it says what is wrong with the file, or not installed
    for name in artifacts.backends:
        if precisions(name, CPU) and is_installed(name):
            backend, _ = load_backend(artifacts, CPU, backend=name)
            error = artifacts.self_check.run(backend)
            many = "any number of faces" if backend.batches else "one face"
            click.echo(f"{name}: error {error:.1g} in its self-check; {many} at a time")
