"""``facemend models promote``: put a new model in the place of an old one, if it is no worse."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import click

from shared.errors import DatasetError, ModelUnavailable
from shared.settings import Settings, load_settings
from worker.commands.exit_codes import errors_as_exit_codes
from worker.weights.added_models import find_added
from worker.weights.catalogue import CATALOGUE, find_entry
from worker.weights.verification import file_sha256

if TYPE_CHECKING:
    from worker.training.data.photos import Photos
    from worker.training.measure.bars import BarsReport

EXIT_REFUSED = 1
EXIT_NOT_SERVED = 4


def _margin(name: str, default: float, text: str) -> Callable[[Callable[..., None]], click.Command]:
    return click.option(
        f"--margin-{name}",
        f"margin_{name}",
        type=click.FloatRange(0.0),
        default=default,
        show_default=True,
        help=text,
    )  # type: ignore[return-value]


@click.command()
@click.argument("new")
@click.option("--over", required=True, metavar="OLD", help="The model whose place it takes.")
@click.option(
    "--photos",
    type=click.Path(path_type=Path),
    help="Sharp, aligned, square photos of people that neither was trained on: folder or ZIP.",
)
@_margin("psnr", 0.1, "Decibels that it may be farther from the originals.")
@_margin("distance", 0.005, "By how much the persons may be farther from themselves.")
@_margin("gradient", 0.02, "Share of the originals' sharpness that it may lose.")
@click.option("--dry-run", is_flag=True, help="Measure and say, but change no file.")
@click.option("--roll-back", is_flag=True, help="Bring back what OLD was before the last time.")
@click.option(
    "--wait",
    "wait_s",
    type=click.FloatRange(0.0),
    default=0.0,
    metavar="SECONDS",
    help="Wait until all live workers serve the file; exit code 4 if they do not.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of Markdown.")
def promote(
    *,
    new: str,
    over: str,
    photos: Path | None,
    margin_psnr: float,
    margin_distance: float,
    margin_gradient: float,
    dry_run: bool,
    roll_back: bool,
    wait_s: float,
    as_json: bool,
) -> None:
    """Measure NEW and OLD on the same photos, and replace OLD's file by NEW's if it is no worse.

    Refuses if, for light, x4 or x8 damage, NEW is worse than OLD by more than a margin, or loses
    the identity of more faces. Both are files in FACEMEND_MODELS_DIR; what OLD was is kept as
    OLD.before.safetensors. A model of the catalogue is checked by its hash and never replaced.
    Running workers load the new file within seconds, while they go on with their jobs.

    Exit codes: 0 promoted, 1 refused, 2 wrong command or photos, 3 model or weights, 4 promoted,
    but not all workers serve it, or Redis does not respond to --wait.
    """
    from worker.training.measure.promotion import Margins, as_dicts, compare, markdown, may_promote

    with errors_as_exit_codes():
        settings = load_settings()
        if roll_back:
            click.echo(f"{over} is again what it was: {_roll_back(settings, over)}")
            _follow(settings, over, wait_s)
            return
        if photos is None:
            raise click.UsageError("Missing option '--photos'.")
        margins = Margins(margin_psnr, margin_distance, gradient=margin_gradient)
        old_report, new_report = _measured(settings, photos, (over, new))
        comparisons = compare(old_report, new_report, margins)
        good = may_promote(comparisons)
        if as_json:
            click.echo(json.dumps({"promote": good, "figures": as_dicts(comparisons)}, indent=2))
        else:
            click.echo(markdown(comparisons, over, new))
        if not good:
            click.echo(f"{new} is worse than {over} and is not promoted", err=True)
            raise SystemExit(EXIT_REFUSED)
        if stays := _why_it_stays(new, over, dry_run=dry_run):
            click.echo(f"{new} may take the place of {over}{stays}", err=True)
            return
        click.echo(_replace(settings, new, over), err=True)
        _follow(settings, over, wait_s)


def _measured(
    settings: Settings, path: Path, models: tuple[str, str]
) -> tuple[BarsReport, BarsReport]:
    from worker.training.data.photos import load_photos

    try:
        photos = load_photos(path)
        old, new = (_report(settings, model, photos) for model in models)
    except DatasetError as error:
        raise click.UsageError(str(error)) from None
    return old, new


def _report(settings: Settings, model: str, photos: Photos) -> BarsReport:
    from worker.commands.models.evaluate import judge_of_aligned_faces
    from worker.load_models import load_model
    from worker.training.measure.bars import measure_bars

    judge = judge_of_aligned_faces(settings)
    with closing(load_model(settings, model)) as restorer:
        return measure_bars(judge, restorer, photos)[0]


def _why_it_stays(new: str, over: str, *, dry_run: bool) -> str:
    if dry_run:
        return "; nothing was changed"
    if over in CATALOGUE:
        return f", which is of the catalogue and stays as it is: set FACEMEND_DEFAULT_MODEL={new}"
    return ""


def _replace(settings: Settings, new: str, over: str) -> str:
    source = find_entry(new, settings.models_dir).path(settings.models_dir)
    target, before = _files_of(settings, over)
    if source.suffix != target.suffix:
        raise ModelUnavailable(f"{source.name} cannot take the place of {target.name}")
    shutil.copyfile(target, before)
    partial = target.with_suffix(".partial")
    shutil.copyfile(source, partial)
    partial.replace(target)
    return f"{target} is now {new}; facemend models promote {new} --over {over} --roll-back undoes"


def _follow(settings: Settings, over: str, wait_s: float) -> None:
    from worker.commands.models.rollout import follow_rollout

    target, _ = _files_of(settings, over)
    if not follow_rollout(settings, over, file_sha256(target), wait_s):
        raise SystemExit(EXIT_NOT_SERVED)


def _roll_back(settings: Settings, over: str) -> Path:
    target, before = _files_of(settings, over)
    if not before.is_file():
        raise ModelUnavailable(f"{over} was never replaced: there is no {before}")
    before.replace(target)
    return target


def _files_of(settings: Settings, name: str) -> tuple[Path, Path]:
    """The model's file, and the one that it was before."""
    if name in CATALOGUE:
        raise ModelUnavailable(f"{name} is of the catalogue and is never replaced")
    if find_added(name, settings.models_dir):
        raise ModelUnavailable(f"{name} was added with its hash and is never replaced: add another")
    target = settings.models_dir / f"{name}.safetensors"
    return target, target.with_name(f"{name}.before.safetensors")
