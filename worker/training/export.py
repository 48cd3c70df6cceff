"""Turn a checkpoint into the file that is served: `python -m worker.training.export --help`."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import click

from shared.errors import WeightsInvalid
from worker.training.checkpoint import export_generator, read_generator


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line; 0, or 2 with a message on what to do."""
    options = _parser().parse_args(arguments)
    try:
        generator = read_generator(options.weights)
        metadata = {
            "name": options.out.stem,
            "size": str(generator.config.size),
            "template": options.template,
            "licence": options.licence,
            "description": options.description,
        }
        export_generator(generator, options.out, metadata)
    except (WeightsInvalid, OSError) as error:
        click.echo(f"export: {error}", err=True)
        return 2
    click.echo(f"{options.out}: {options.out.stat().st_size / 1e6:.1f} MB, {metadata}")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m worker.training.export",
        description=(
            "Write the averaged generator of a checkpoint as half-precision safetensors, with what"
            " serving has to know in its metadata. The name of the model is that of the file."
        ),
        epilog=(
            "example: python -m worker.training.export --weights runs/sharp/best.pt"
            " --out my.safetensors"
        ),
    )
    parser.add_argument("--weights", type=Path, required=True, help="best.pt or checkpoint.pt")
    parser.add_argument("--out", type=Path, required=True, help="NAME.safetensors")
    parser.add_argument(
        "--template",
        choices=("ffhq", "gpen"),
        default="ffhq",
        help="what the training photos were aligned to (default %(default)s)",
    )
    parser.add_argument("--licence", default="Apache-2.0", help="SPDX name (default %(default)s)")
    parser.add_argument("--description", default="GPEN face restorer", help="one line")
    return parser


if __name__ == "__main__":
    raise SystemExit(main())
