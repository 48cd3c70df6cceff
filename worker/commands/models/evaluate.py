"""``facemend evaluate``: how good restored photos are, in figures, sheets and blind comparisons."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from shared.errors import DatasetError, OptionUnavailable, WeightsMissing
from shared.settings import Settings, load_settings
from worker.commands.exit_codes import errors_as_exit_codes
from worker.load_models import load_model

if TYPE_CHECKING:
    from worker.training.data.degradations import Image
    from worker.training.measure.candidates import Candidate
    from worker.training.measure.quality import FindLandmarks, Judge

_EPILOG = """
\b
Examples:
  facemend evaluate --photos val.zip                       the default model on spoiled photos
  facemend evaluate --photos val.zip --bars                against the bars that a model must meet
  facemend evaluate --photos val.zip --degrade light -m gpen-bfr-512 --sheet sheet.png
  facemend evaluate --restored mended --reference sharp    pictures that anything made
  facemend evaluate --photos val.zip --blind look -m new --over facemend-starter
  facemend evaluate --tally look                           count what look/ballot.csv says

\b
PSNR, SSIM: nearness of the pixels, higher is nearer.
identity: 1 the same face, 0.5 where two persons are told apart, 0 a stranger; distance: dlib's
  own figure for it, 0.6 where two persons are told apart; lost: the share of faces above that.
  Measured where the packages are installed (pip install dlib-bin face-recognition-models).
gradient: sharpness inside the face over the original's; features: distance in the features of the
  face detector.
LPIPS, FID: lower is nearer; measured where their weights are given, which nobody may ship with
  this package: alexnet and inception_v3 of torchvision, heads "alex" 0.1 of LPIPS' authors.
"""
_FILE = click.Path(path_type=Path)
_ESRGAN = "real-esrgan"


@dataclass(frozen=True)
class _Request:
    """The options, as they were given."""

    photos: Path | None
    model: str | None
    degrade: str
    seed: int | None
    skip_sharp: bool
    restored: Path | None
    reference: Path | None
    template: str | None
    fid_weights: Path | None
    lpips_weights: Path | None
    lpips_heads: Path | None
    bars: bool
    blind: Path | None
    over: tuple[str, ...]
    whole: Path | None
    counts: tuple[int, int, int]
    tally: Path | None
    card: Path | None
    sheet: Path | None
    rows: int
    as_json: bool


@click.command(epilog=_EPILOG)
@click.option("--photos", type=_FILE, help="Sharp, aligned, square face photos: folder or ZIP.")
@click.option("-m", "--model", help="Model to measure.  [default: facemend-starter]")
@click.option(
    "--degrade",
    type=click.Choice(["none", "light", "validation", "heavy", "x4", "x8"]),
    default="validation",
    show_default=True,
    help="How the photos are degraded before they are restored.",
)
@click.option(
    "--seed", type=click.IntRange(0), help="Seed of the degradation.  [default: the published one]"
)
@click.option(
    "--skip-sharp/--restore-sharp",
    default=True,
    show_default=True,
    help="Keep faces that are already sharp, as facemend restore does.",
)
@click.option("--restored", type=_FILE, help="Restored pictures: folder or ZIP.")
@click.option("--reference", type=_FILE, help="The sharp pictures, with the same names.")
@click.option(
    "--template",
    type=click.Choice(["ffhq", "gpen", "detect"]),
    help="Position of the faces: aligned to a template, or detected.  "
    "[default: ffhq for --photos, detect for --restored]",
)
@click.option("--fid-weights", type=_FILE, help="Weights of torchvision's inception_v3.")
@click.option("--lpips-weights", type=_FILE, help="Weights of torchvision's alexnet.")
@click.option("--lpips-heads", type=_FILE, help="Linear heads of LPIPS.")
@click.option("--bars", is_flag=True, help="Measure light, x4 and x8 damage against the bars.")
@click.option("--blind", type=_FILE, help="Write numbered sheets, a ballot and a key here.")
@click.option(
    "--over",
    multiple=True,
    help=f"A model to compare with on the sheets, or {_ESRGAN}; may be given again.",
)
@click.option("--whole", type=_FILE, help="Whole photos for the sheets: folder or ZIP.")
@click.option(
    "--counts",
    type=(click.IntRange(0), click.IntRange(0), click.IntRange(0)),
    default=(20, 10, 10),
    show_default=True,
    help="Sheets of faces at x4, of faces at x8, and of whole photos.",
)
@click.option("--tally", type=_FILE, help="Count the ballot in this folder, and do nothing else.")
@click.option("--card", type=_FILE, help="Write the table into this model card, between its marks.")
@click.option("--sheet", type=_FILE, help="Write a contact sheet (PNG) here.")
@click.option("--rows", type=click.IntRange(1), default=24, show_default=True, help="Rows on it.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of Markdown.")
def evaluate(**options: Any) -> None:
    """Measure a model on photos that are spoiled and restored, or restored pictures as they are.

    Exit codes: 0 success, 2 wrong command or unusable photos, 3 model or weights missing or wrong.
    """
    request = _Request(**options)
    action = _action(request)
    with errors_as_exit_codes():
        settings = load_settings()
        try:
            action(settings, request)
        except DatasetError as error:
            raise click.UsageError(str(error)) from None


def _action(request: _Request) -> Callable[[Settings, _Request], None]:
    """The one thing that is asked for; raises UsageError if that is none, or several."""
    if request.tally:
        return _tally
    ways = (
        request.photos is not None,
        request.restored is not None,
        request.reference is not None,
    )
    if ways == (False, True, True):
        if request.bars or request.blind:
            raise click.UsageError("--bars and --blind restore --photos themselves.")
        return _measure_pictures
    if ways != (True, False, False):
        raise click.UsageError("Give either --photos, or --restored and --reference.")
    if request.bars and request.blind:
        raise click.UsageError("Give --bars or --blind, not both.")
    return _measure_bars if request.bars else _compare if request.blind else _measure_model


def _measure_model(settings: Settings, request: _Request) -> None:
    from worker.training.data.photos import load_photos
    from worker.training.measure.quality import of_model

    judge = _judge(settings, request, request.template or "ffhq")
    with closing(load_model(settings, request.model)) as restorer:
        table, lines = of_model(
            judge,
            restorer,
            load_photos(_given(request.photos)),
            damage=request.degrade,
            seed=request.seed,
            skip_sharp=request.skip_sharp,
        )
    _report(request, table.as_dict(), table.markdown(), lines)


def _measure_pictures(settings: Settings, request: _Request) -> None:
    from worker.training.data.photos import load_images
    from worker.training.measure.quality import of_pictures

    judge = _judge(settings, request, request.template or "detect")
    restored, reference = _given(request.restored), _given(request.reference)
    table, lines = of_pictures(judge, load_images(restored), load_images(reference))
    _report(request, table.as_dict(), table.markdown(), lines)


def _measure_bars(settings: Settings, request: _Request) -> None:
    from worker.training.data.photos import load_photos
    from worker.training.measure.bars import measure_bars

    judge = _judge(settings, request, request.template or "ffhq")
    with closing(load_model(settings, request.model)) as restorer:
        report, sheets = measure_bars(judge, restorer, load_photos(_given(request.photos)))
    share = -(-request.rows // len(sheets))
    lines = [line for rows in sheets.values() for line in rows[:share]]
    _report(request, report.as_dict(), report.markdown(), lines)


def _compare(settings: Settings, request: _Request) -> None:
    from worker.training.data.photos import load_images, load_photos
    from worker.training.measure.blind import write_sheets
    from worker.training.measure.candidates import make_trials, restored_by, unchanged
    from worker.training.measure.validation import SEED

    seed = SEED if request.seed is None else request.seed
    faces = load_photos(_given(request.photos)).images
    whole = list(load_images(request.whole).values()) if request.whole else []
    counts = request.counts if whole else (*request.counts[:2], 0)
    with ExitStack() as stack:
        candidates: dict[str, Candidate] = {"input": unchanged}
        for name in (request.model or settings.default_model, *request.over):
            if name in candidates:
                raise click.UsageError(f"{name} would be compared with itself.")
            if name == _ESRGAN:
                candidates[name] = _enlarge(settings)
            else:
                restorer = stack.enter_context(closing(load_model(settings, name)))
                candidates[name] = restored_by(restorer)
        trials = make_trials(candidates, faces, whole, counts=counts, seed=seed)
    folder = _given(request.blind)
    folder.mkdir(parents=True, exist_ok=True)
    write_sheets(trials, folder, seed)
    click.echo(
        f"{len(trials)} sheets in {folder}. Let somebody who has not seen {folder / 'key.json'} "
        f"write the letters, best first, into {folder / 'ballot.csv'}; then: "
        f"facemend evaluate --tally {folder}"
    )


def _tally(_settings: Settings, request: _Request) -> None:
    from worker.training.measure.blind import markdown, tally

    preferences = tally(_given(request.tally))
    as_dict = {"preferences": [vars(each) for each in preferences]}
    click.echo(json.dumps(as_dict, indent=2) if request.as_json else markdown(preferences))


def _enlarge(settings: Settings) -> Candidate:
    from worker.engine.devices import choose_device
    from worker.engine.load_enlarger import load_enlarger
    from worker.training.measure.candidates import enlarged_by

    device = choose_device(settings.device)
    return enlarged_by(
        load_enlarger(
            settings.models_dir,
            device,
            settings.precision,
            accepted_licences=settings.accepted_licences,
        )
    )


def judge_of_aligned_faces(settings: Settings, where: str = "ffhq") -> Judge:
    """Return what measures identity, if its packages are installed, and sharpness."""
    from worker.engine.devices import choose_device
    from worker.engine.faces.detector import FaceDetector
    from worker.engine.faces.identity import load_embedder
    from worker.engine.load import load_detector_network
    from worker.training.measure.quality import Judge

    try:
        embedder = load_embedder()
    except OptionUnavailable as error:
        click.echo(f"evaluate: identity is not measured: {error.detail}", err=True)
        embedder = None
    network = load_detector_network(settings.models_dir, choose_device(settings.device))
    landmarks = _landmarks(FaceDetector(network, network.name), where)
    return Judge(embedder=embedder, landmarks=landmarks, features=network.features)


def _judge(settings: Settings, request: _Request, where: str) -> Judge:
    from worker.training.measure.perceptual import Fid, Lpips

    alexnet, heads, fid = request.lpips_weights, request.lpips_heads, request.fid_weights
    if (alexnet is None) != (heads is None):
        raise WeightsMissing("LPIPS needs both --lpips-weights and --lpips-heads")
    return replace(
        judge_of_aligned_faces(settings, where),
        lpips=Lpips(alexnet, heads) if alexnet and heads else None,
        fid=Fid(fid) if fid else None,
    )


def _landmarks(detector: Any, where: str) -> FindLandmarks:
    from worker.imaging.geometry import template_points

    if where != "detect":
        return lambda image: template_points(where, len(image))

    def largest(image: Image) -> Any:
        faces = detector.detect(image, 0.9)
        return max(faces, key=lambda face: face.short_side_px).landmarks if faces else None

    return largest


def _report(request: _Request, data: dict[str, Any], markdown: str, lines: Sequence[Image]) -> None:
    click.echo(json.dumps(data, indent=2) if request.as_json else markdown)
    if request.card:
        from worker.training.measure.model_card import write_figures

        write_figures(request.card, markdown)
        click.echo(f"evaluate: figures in {request.card}", err=True)
    if request.sheet:
        _write_sheet(lines[: request.rows], request.sheet)


def _write_sheet(lines: Sequence[Image], path: Path) -> None:
    """Rows of degraded | restored | sharp, or of restored | sharp."""
    from worker.training.measure.validation import contact_sheet, write_png

    if len({line.shape for line in lines}) > 1:
        raise click.UsageError("A contact sheet needs pictures of one size.")
    write_png(contact_sheet(lines), path)
    click.echo(f"evaluate: contact sheet in {path}", err=True)


def _given(path: Path | None) -> Path:
    """A path that ``_action`` has made sure of."""
    if path is None:  # pragma: no cover
        raise click.UsageError("A path is missing.")
    return path
