"""``facemend restore``: photos on this machine, no server."""

from __future__ import annotations

import json
import sys
import warnings
from pathlib import Path
from typing import Literal

import click

from shared.errors import ModelUnavailable
from shared.settings import Settings, load_settings
from worker.commands.failure import EXIT_PHOTO_FAILED, errors_as_exit_codes
from worker.commands.restore.batch import PhotoBatch, plan, plan_sample
from worker.commands.restore.report import print_report, run_with_progress
from worker.decoder.photo_limits import limits_of
from worker.engine import FaceOptions
from worker.load_models import load_model
from worker.weights.catalogue import COLORIZER, Task
from worker.weights.files import find_entry

_EPILOG = """
\b
Examples:
  facemend restore                          the photo that comes with it → output_astronaut.png
  facemend restore photo.jpg                → output_photo.jpg beside it
  facemend restore -i old -o mended         a folder in, a folder out
  facemend restore photo.jpg --faces largest --strength 0.8
  facemend restore group.png --faces 0,2 --compare
  facemend restore small.jpg --background x2
  facemend restore photo.jpg --json | jq '.[0].faces[].status'

\b
Exit codes:
  0  every photo was restored (or has no face)
  1  some photo failed; the others are done
  2  the command or a setting is wrong
  3  the model or its weights cannot be used

\b
Models: facemend models list shows them, facemend models pull NAME downloads one.
"""


class FacesType(click.ParamType[str | tuple[int, ...]]):
    """``all``, ``largest``, ``center`` or indexes such as ``0,2``."""

    name = "faces"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> str | tuple[int, ...]:
        text = str(value)
        if text in {"all", "largest", "center"}:
            return text
        try:
            indexes = tuple(int(part) for part in text.split(","))
        except ValueError:
            indexes = (-1,)
        if min(indexes) < 0:
            self.fail(f"{text!r}: say all, largest, center, or indexes such as 0,2", param, ctx)
        return indexes


@click.command(epilog=_EPILOG)
@click.argument("photo", required=False, type=click.Path(path_type=Path))
@click.option(
    "-i", "--input", "input_", type=click.Path(path_type=Path), help="Photo or folder of photos."
)
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), help="Where to write: a file, or a folder."
)
@click.option("-m", "--model", help="Name of the model.  [default: facemend-starter]")
@click.option(
    "--task",
    type=click.Choice(["restore", "colorize"]),
    help="What the model has to be for; colorize gives grey photos colour and keeps their "
    "luminance.  [default model for colorize: gpen-colorization-1024]",
)
@click.option(
    "--strength",
    type=click.FloatRange(0, 1),
    default=1.0,
    show_default=True,
    help="How much of the restored face: 0 keeps the old one.",
)
@click.option(
    "--min-identity",
    type=click.FloatRange(0, 1),
    help="Measure how alike each face is before and after, and keep the old one below this; 0.5 is "
    "where two persons are told apart, 0 only measures.",
)
@click.option(
    "--noise-scale",
    type=click.FloatRange(0, 2),
    default=1.0,
    show_default=True,
    help="Less leans on what the network knows of faces, more on the photo.",
)
@click.option(
    "--truncation",
    type=click.FloatRange(0, 1),
    default=1.0,
    show_default=True,
    help="Less draws the face nearer to the network's mean face.",
)
@click.option(
    "--faces",
    type=FacesType(),
    default="all",
    show_default=True,
    help="all, largest, center, or indexes from left to right: 0,2.",
)
@click.option(
    "--skip-sharp/--restore-sharp",
    default=True,
    show_default=True,
    help="Leave faces alone that are sharp already, or restore those, too.",
)
@click.option(
    "--keep-colour", is_flag=True, help="Give restored faces the colours and contrast they had."
)
@click.option("--post-filter", is_flag=True, help="Smooth what was drawn, but not across edges.")
@click.option(
    "--resampling",
    type=click.Choice(["nearest", "linear", "cubic", "area"]),
    default="area",
    show_default=True,
    help="How faces come into the crop that the network sees.",
)
@click.option("--aligned", is_flag=True, help="Each photo is one aligned face crop.")
@click.option("--strict", is_flag=True, help="A photo with no face, or with a stranger's, fails.")
@click.option(
    "--background",
    type=click.Choice(["keep", "x2", "x4"]),
    default="keep",
    show_default=True,
    help="Keep the rest of the photo as it is, or draw the photo anew two or four times as large "
    "and put the faces into that.",
)
@click.option("--device", help="auto, cpu, cuda, cuda:1, mps.  [default: auto]")
@click.option(
    "--precision",
    type=click.Choice(["auto", "fp32", "bf16", "fp16"]),
    help="Arithmetic of the network.  [default: auto]",
)
@click.option(
    "--backend",
    type=click.Choice(["auto", "torch", "onnxruntime", "openvino", "tensorrt"]),
    help="What runs the network; auto is the fastest here.  [default: auto]",
)
@click.option(
    "--allow-fallback",
    is_flag=True,
    default=None,
    help="Use the next backend where one fails its self-check.",
)
@click.option("--seed", type=click.IntRange(0, 2**31 - 1), default=0, show_default=True)
@click.option("--compare", is_flag=True, help="Also write before and after side by side.")
@click.option("--json", "as_json", is_flag=True, help="Print what was done as JSON.")
@click.option("-v", "--verbose", is_flag=True, help="Say what became of each face.")
def restore(
    *,
    photo: Path | None,
    input_: Path | None,
    output: Path | None,
    model: str | None,
    task: Task | None,
    strength: float,
    min_identity: float | None,
    noise_scale: float,
    truncation: float,
    faces: str | tuple[int, ...],
    skip_sharp: bool,
    keep_colour: bool,
    post_filter: bool,
    resampling: Literal["nearest", "linear", "cubic", "area"],
    aligned: bool,
    strict: bool,
    background: Literal["keep", "x2", "x4"],
    device: str | None,
    precision: str | None,
    backend: str | None,
    allow_fallback: bool | None,
    seed: int,
    compare: bool,
    as_json: bool,
    verbose: bool,
) -> None:
    """Restore the faces in PHOTO, or in every photo of a folder; nothing else in it changes.

    The result is written as output_PHOTO beside it, or where --output says. With no PHOTO at all,
    a public-domain photo that comes with the package is spoiled and restored.
    """
    if photo and input_:
        raise click.UsageError("Give the photo once: as PHOTO or with --input, not both.")
    warnings.filterwarnings("ignore", module="PIL")  # the decoder's asides; errors stay errors
    with errors_as_exit_codes():
        settings = load_settings()
        source = photo or input_
        work = plan(source, output) if source else plan_sample(output)
        given = {
            "default_model": model or (COLORIZER if task == "colorize" else None),
            "device": device,
            "precision": precision,
            "backend": backend,
            "allow_fallback": allow_fallback,
        }
        settings = settings.model_copy(update={k: v for k, v in given.items() if v is not None})
        if task:
            _require_task(settings, task)
        restorer = load_model(settings)
        options = FaceOptions(
            faces=faces,
            aligned=aligned,
            strength=strength,
            min_identity=min_identity,
            noise_scale=noise_scale,
            truncation=truncation,
            skip_sharp=skip_sharp,
            keep_colour=keep_colour,
            post_filter=post_filter,
            resampling=resampling,
            seed=seed,
            strict=strict,
            background=background,
            crops=False,
        )
        batch = PhotoBatch(restorer, options, limits_of(settings), compare=compare)
        outcomes = run_with_progress(batch, work, visible=not as_json)
        restorer.close()
    if as_json:
        click.echo(json.dumps([outcome.as_dict() for outcome in outcomes], indent=2))
    else:
        print_report(outcomes, verbose=verbose)
    if any(outcome.status == "failed" for outcome in outcomes):
        sys.exit(EXIT_PHOTO_FAILED)


def _require_task(settings: Settings, task: Task) -> None:
    entry = find_entry(settings.default_model, settings.models_dir)
    if entry.task != task:
        raise ModelUnavailable(f"{entry.name} is to {entry.task}, not to {task}")
