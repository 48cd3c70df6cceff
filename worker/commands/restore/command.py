"""``facemend restore``: photos on this machine, no server."""

from __future__ import annotations

import json
import sys
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from shared.digest import digest
from shared.errors import ModelUnavailable
from shared.settings import Settings, load_settings
from worker.commands.exit_codes import EXIT_PHOTO_FAILED, errors_as_exit_codes
from worker.commands.restore.batch import BatchOptions, Outcome, skipped
from worker.commands.restore.engine import MAX_BYTES, MAX_PIXELS, open_engine, own_limits
from worker.commands.restore.option_flags import restore_option_flags
from worker.commands.restore.plan import Plan, Skipped, Work, plan, plan_sample
from worker.commands.restore.report import print_report, run_with_progress
from worker.engine import FaceOptions
from worker.imaging.limits import Limits
from worker.weights.catalogue import COLORIZER, best_entry, find_entry
from worker.weights.model_entry import Task

if TYPE_CHECKING:
    from shared.provenance.signing_keys import SigningKey

_EPILOG = """
\b
Examples:
  facemend restore                          the photo that comes with it → output_astronaut.png
  facemend restore photo.jpg                → output_photo.jpg beside it
  facemend restore -i old -o mended         a folder in, a folder out; again: only what is new
  facemend restore -i old -o mended -r      with its subfolders
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
Photos: JPEG, PNG, WebP, TIFF, BMP, GIF, AVIF, and HEIC with the extra facemend[heif]. Each is
decoded in a confined process that has 20 s of processor time.

\b
Models: facemend models list shows them, facemend models pull NAME downloads one.
"""


@click.command(epilog=_EPILOG)
@click.argument("photo", required=False, type=click.Path(path_type=Path))
@click.option(
    "-i", "--input", "input_", type=click.Path(path_type=Path), help="Photo or folder of photos."
)
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), help="Where to write: a file, or a folder."
)
@click.option("-r", "--recursive", is_flag=True, help="Restore the subfolders of a folder, too.")
@click.option(
    "--resume/--no-resume",
    default=True,
    show_default=True,
    help="Skip photos of a folder that were restored before in the same way and have not changed.",
)
@click.option(
    "-m",
    "--model",
    help="Name of the model; best: the best that is installed and whose licence is accepted.  "
    "[default: facemend-starter]",
)
@click.option(
    "--task",
    type=click.Choice(["restore", "colorize"]),
    help="What the model has to be for; colorize gives grey photos colour and keeps their "
    "luminance.  [default model for colorize: gpen-colorization-1024]",
)
@restore_option_flags
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
@click.option(
    "--max-pixels",
    type=click.IntRange(1),
    help=f"Largest photo to decode, width x height.  [default: {MAX_PIXELS}]",
)
@click.option(
    "--max-bytes",
    type=click.IntRange(1),
    help=f"Largest file to read.  [default: {MAX_BYTES}]",
)
@click.option("--compare", is_flag=True, help="Also write before and after side by side.")
@click.option(
    "--manifest",
    is_flag=True,
    help="Also write a signed manifest of each result, RESULT.manifest.json; facemend verify "
    "checks it.",
)
@click.option("--json", "as_json", is_flag=True, help="Print what was done as JSON.")
@click.option("-v", "--verbose", is_flag=True, help="Say what became of each face.")
def restore(
    *,
    photo: Path | None,
    input_: Path | None,
    output: Path | None,
    recursive: bool,
    resume: bool,
    model: str | None,
    task: Task | None,
    device: str | None,
    precision: str | None,
    backend: str | None,
    allow_fallback: bool | None,
    max_pixels: int | None,
    max_bytes: int | None,
    compare: bool,
    manifest: bool,
    as_json: bool,
    verbose: bool,
    **options: Any,
) -> None:
    """Restore the faces in PHOTO, or in every photo of a folder; nothing else in it changes.

    The result is written as output_PHOTO beside it, or where --output says. With no PHOTO at all,
    a public-domain photo that comes with the package is damaged and restored.
    """
    if photo and input_:
        raise click.UsageError("Give the photo once: as PHOTO or with --input, not both.")
    warnings.filterwarnings("ignore", module="PIL")  # the decoder's asides; errors stay errors
    with errors_as_exit_codes():
        settings = load_settings()
        given = {
            "default_model": model or (COLORIZER if task == "colorize" else None),
            "device": device,
            "precision": precision,
            "backend": backend,
            "allow_fallback": allow_fallback,
        }
        settings = settings.model_copy(update={k: v for k, v in given.items() if v is not None})
        if settings.default_model == "best":
            settings = _with_best(settings)
        if task:
            _require_task(settings, task)
        face_options = FaceOptions(**options, crops=False)
        limits = own_limits(settings, max_pixels=max_pixels, max_bytes=max_bytes)
        model_entry = find_entry(settings.default_model, settings.models_dir)
        how = digest(f"{model_entry} {compare} {face_options}{' manifest' * manifest}")
        if source := photo or input_:
            todo = plan(source, output, recursive=recursive, resume=resume, options=how)
        else:
            todo = plan_sample(output)
        batch = BatchOptions(
            options=face_options,
            max_bytes=limits.max_bytes,
            compare=compare,
            signing_key=_signing_key(settings) if manifest else None,
        )
        outcomes = _run(settings, todo, batch, limits, visible=not as_json)
    if as_json:
        click.echo(json.dumps([outcome.as_dict() for outcome in outcomes], indent=2))
    else:
        print_report(outcomes, left_out=todo.left_out, verbose=verbose)
    if any(outcome.status == "failed" for outcome in outcomes):
        sys.exit(EXIT_PHOTO_FAILED)


def _signing_key(settings: Settings) -> SigningKey:
    from worker.commands.provenance.keys import signing_key

    return signing_key(settings)


def _run(
    settings: Settings,
    todo: Plan,
    options: BatchOptions,
    limits: Limits,
    *,
    visible: bool,
) -> list[Outcome]:
    """Restore the photos of the plan. Without any, neither model nor decoder is started."""
    if not any(isinstance(step, Work) for step in todo.steps):
        return [skipped(step) for step in todo.steps if isinstance(step, Skipped)]
    with open_engine(settings, options, limits) as batch:
        return run_with_progress(batch, todo, visible=visible)


def _with_best(settings: Settings) -> Settings:
    entry = best_entry(settings.models_dir, settings.accepted_licences)
    click.echo(f"best of the installed models: {entry.name} ({entry.good_at})", err=True)
    return settings.model_copy(update={"default_model": entry.name})


def _require_task(settings: Settings, task: Task) -> None:
    entry = find_entry(settings.default_model, settings.models_dir)
    if entry.task != task:
        raise ModelUnavailable(f"{entry.name} is to {entry.task}, not to {task}")
