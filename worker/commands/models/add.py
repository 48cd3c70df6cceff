"""``facemend models add``: adds a restorer of others, or a network that enlarges backgrounds."""

from __future__ import annotations

from dataclasses import replace
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
@click.option(
    "--kind",
    type=click.Choice(["restorer", "upscaler"]),
    default="restorer",
    show_default=True,
    help="What it does: restores faces, or enlarges backgrounds.",
)
@click.option("--size", type=click.IntRange(16, 4096), help="Side of a restorer's input, px.")
@click.option(
    "--output-size", type=click.IntRange(16, 4096), help="Side of the output.  [default: --size]"
)
@click.option(
    "--template",
    type=click.Choice(list(TEMPLATES)),
    help="How faces lie in a restorer's training pictures. GFPGAN and RestoreFormer: ffhq.",
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
def add(*, file: Path, kind: str, name: str | None, **stated: Any) -> None:
    """Add FILE to the models.

    A restorer is an .onnx file, or GFPGAN or RestoreFormer as .pth or .safetensors; state its
    --size and --template. An upscaler (--kind upscaler) is any network for super-resolution x2 or
    x4 that spandrel knows, as .pth or .safetensors.

    The file is run with each installed backend. If its form is not as stated, it is refused.
    Otherwise it is copied to the folder of the models, with an entry NAME.json that has its hash
    and licence.
    """
    form = _form(file, kind, **stated)
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
            bytes=file.stat().st_size,
            sha256=file_sha256(file),
            **form,
        )
        if kind == "upscaler":
            entry = replace(entry, scale=_try_upscaler(file))
        else:
            from worker.engine.load import artifacts_of

            _try(artifacts_of(entry, settings.models_dir, file, entry.sha256 or ""))
        kept = keep(entry, file, settings.models_dir)
    click.echo(f"{name}: {kept.path(settings.models_dir)}, sha256 {kept.sha256}")
    if not kept.licence_is_open:
        click.echo(
            f"  Its licence is {kept.licence}, which is not an open one. If you may use it, set "
            f"FACEMEND_ACCEPTED_LICENCES={kept.licence}"
        )


def _form(
    file: Path, kind: str, *, size: int | None, output_size: int | None, **stated: Any
) -> dict[str, Any]:
    """Return the fields of the entry that are stated. Raises UsageError if they do not fit."""
    suffixes = [suffix for suffix in _FORMATS if kind == "restorer" or suffix != ".onnx"]
    if file.suffix not in suffixes:
        raise click.UsageError(
            f"{file}: a file for --kind {kind} can end with {', '.join(suffixes)}."
        )
    stated |= {"kind": kind, "format": _FORMATS[file.suffix]}
    if kind == "restorer":
        if not size or not stated["template"]:
            raise click.UsageError("a restorer needs --size and --template.")
        return {**stated, "in_px": size, "out_px": output_size or size}
    if size or output_size or stated["template"]:
        raise click.UsageError("--size, --output-size and --template are of a restorer.")
    return stated


def _try_upscaler(file: Path) -> int:
    """Enlarge a small picture, say how much it changes, and return how many times it enlarges."""
    import numpy as np

    from worker.engine.backends.self_check import face_like
    from worker.engine.background.upscaler import Upscaler
    from worker.engine.brought_models.spandrel_upscaler import load_upscaler_network
    from worker.engine.devices import CPU

    upscaler = Upscaler(load_upscaler_network(file), CPU, "fp32")
    picture = face_like(64)
    again = upscaler.upscale(picture, average=upscaler.scale)
    change = np.abs(again.astype(np.float64) - picture).mean()
    click.echo(
        f"torch: enlarges {upscaler.scale} times; averaged down again, its output is {change:.1f} "
        "of 255 levels from the picture"
    )
    return upscaler.scale


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
