"""``facemend evaluate``: how good restored photos are, in figures and on a contact sheet."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from shared.errors import DatasetError, OptionUnavailable, WeightsMissing
from shared.settings import Settings, load_settings
from worker.commands.failure import errors_as_exit_codes
from worker.load_models import load_model

if TYPE_CHECKING:
    from worker.training.degradations import Image
    from worker.training.quality import FindLandmarks, Judge

_EPILOG = """
\b
Examples:
  facemend evaluate --photos val.zip                       the default model on spoiled photos
  facemend evaluate --photos val.zip --degrade light -m gpen-bfr-512 --sheet sheet.png
  facemend evaluate --restored mended --reference sharp    pictures that anything made
  facemend evaluate --photos val.zip --lpips-weights alexnet.pth --lpips-heads alex.pth

\b
PSNR, SSIM: nearness of the pixels, higher is nearer.
identity: 1 the same face, 0.5 where two persons are told apart, 0 a stranger; measured where the
  packages for it are installed (pip install dlib-bin face-recognition-models).
LPIPS, FID: lower is nearer; measured where their weights are given, which nobody may ship with
  this package: alexnet and inception_v3 of torchvision, heads "alex" 0.1 of LPIPS' authors.
"""
_FILE = click.Path(path_type=Path)


@click.command(epilog=_EPILOG)
@click.option("--photos", type=_FILE, help="Sharp, aligned, square face photos: folder or ZIP.")
@click.option("-m", "--model", help="Model to measure.  [default: facemend-starter]")
@click.option(
    "--degrade",
    type=click.Choice(["none", "light", "validation", "heavy"]),
    default="validation",
    show_default=True,
    help="How the photos are spoiled before they are restored.",
)
@click.option("--seed", type=click.IntRange(0), help="Of the damage.  [default: the published one]")
@click.option(
    "--skip-sharp/--restore-sharp",
    default=True,
    show_default=True,
    help="Leave faces alone that are sharp already, as facemend restore does.",
)
@click.option("--restored", type=_FILE, help="Restored pictures: folder or ZIP.")
@click.option("--reference", type=_FILE, help="The sharp ones, by the same names.")
@click.option(
    "--template",
    type=click.Choice(["ffhq", "gpen", "detect"]),
    help="Where the faces are: aligned to a template, or to be found.  "
    "[default: ffhq for --photos, detect for --restored]",
)
@click.option("--fid-weights", type=_FILE, help="Weights of torchvision's inception_v3.")
@click.option("--lpips-weights", type=_FILE, help="Weights of torchvision's alexnet.")
@click.option("--lpips-heads", type=_FILE, help="Linear heads of LPIPS.")
@click.option("--sheet", type=_FILE, help="Write a contact sheet (PNG) here.")
@click.option("--rows", type=click.IntRange(1), default=24, show_default=True, help="Rows on it.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of Markdown.")
def evaluate(
    *,
    photos: Path | None,
    model: str | None,
    degrade: str,
    seed: int | None,
    skip_sharp: bool,
    restored: Path | None,
    reference: Path | None,
    template: str | None,
    fid_weights: Path | None,
    lpips_weights: Path | None,
    lpips_heads: Path | None,
    sheet: Path | None,
    rows: int,
    as_json: bool,
) -> None:
    """Measure a model on photos that are spoiled and restored, or restored pictures as they are.

    Exit codes: 0 measured, 2 wrong command or photos that cannot be used, 3 model or weights.
    """
    from worker.training.dataset import load_images, load_photos
    from worker.training.quality import of_model, of_pictures

    ways = (photos is not None, restored is not None, reference is not None)
    if ways not in {(True, False, False), (False, True, True)}:
        raise click.UsageError("Give either --photos, or --restored and --reference.")
    with errors_as_exit_codes():
        settings = load_settings()
        try:
            where = template or ("ffhq" if photos else "detect")
            judge = _judge(settings, where, fid_weights, lpips_weights, lpips_heads)
            if photos:
                with closing(load_model(settings, model)) as restorer:
                    table, lines = of_model(
                        judge,
                        restorer,
                        load_photos(photos),
                        damage=degrade,
                        seed=seed,
                        skip_sharp=skip_sharp,
                    )
            elif restored and reference:
                table, lines = of_pictures(judge, load_images(restored), load_images(reference))
        except DatasetError as error:
            raise click.UsageError(str(error)) from None
    click.echo(json.dumps(table.as_dict(), indent=2) if as_json else table.markdown())
    if sheet:
        _write_sheet(lines[:rows], sheet)


def _judge(
    settings: Settings, where: str, fid: Path | None, alexnet: Path | None, heads: Path | None
) -> Judge:
    from worker.engine.faces.identity import load_embedder
    from worker.training.perceptual import Fid, Lpips
    from worker.training.quality import Judge

    if (alexnet is None) != (heads is None):
        raise WeightsMissing("LPIPS needs both --lpips-weights and --lpips-heads")
    try:
        embedder = load_embedder()
    except OptionUnavailable as error:
        click.echo(f"evaluate: identity is not measured: {error.detail}", err=True)
        embedder = None
    return Judge(
        embedder=embedder,
        landmarks=_landmarks(settings, where),
        lpips=Lpips(alexnet, heads) if alexnet and heads else None,
        fid=Fid(fid) if fid else None,
    )


def _landmarks(settings: Settings, where: str) -> FindLandmarks:
    from worker.engine.devices import choose_device
    from worker.engine.load import load_detector
    from worker.imaging.geometry import template_points

    if where != "detect":
        return lambda image: template_points(where, len(image))
    detector = load_detector(settings.models_dir, choose_device(settings.device))

    def largest(image: Image) -> Any:
        faces = detector.detect(image, 0.9)
        return max(faces, key=lambda face: face.short_side_px).landmarks if faces else None

    return largest


def _write_sheet(lines: Sequence[Image], path: Path) -> None:
    """Rows of degraded | restored | sharp, or of restored | sharp."""
    from worker.training.evaluate import contact_sheet, write_png

    if len({line.shape for line in lines}) > 1:
        raise click.UsageError("A contact sheet needs pictures of one size.")
    write_png(contact_sheet(lines), path)
    click.echo(f"evaluate: contact sheet in {path}", err=True)
