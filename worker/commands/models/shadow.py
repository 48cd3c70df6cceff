"""``facemend models shadow``: a model beside the served one, in figures of live jobs."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import click

from shared.jobs.shadow_sums import ShadowFigures, ShadowRecord, ShadowSums
from worker.commands.exit_codes import EXIT_UNAVAILABLE, errors_as_exit_codes, exit_codes_help
from worker.commands.operators.service_settings import data_option, service_settings

#: With fewer jobs, a difference may be that of a few photos.
ENOUGH_JOBS = 100
_CONFIDENT = 1.96  # standard errors to each side, for 95 %


@click.command(epilog=exit_codes_help(EXIT_UNAVAILABLE))
@click.argument("new")
@click.option("--over", required=True, metavar="OLD", help="The served model.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of Markdown.")
@click.option("--reset", is_flag=True, help="Remove the sums of this pair, and begin anew.")
@data_option
def shadow(new: str, over: str, as_json: bool, reset: bool, data: Path | None) -> None:
    """Show how NEW, in the shadow, does the jobs of OLD.

    Workers with FACEMEND_SHADOW_MODEL=NEW restore a share of OLD's jobs once more with NEW, and sum
    up how both results differ. No customer sees anything of it. If the file of a model changes, its
    sums begin anew. Before a promotion: facemend models promote NEW --over OLD.
    """
    with errors_as_exit_codes(), service_settings(data) as settings:
        sums = ShadowSums.connect(settings)
        if reset:
            sums.reset(new, over)
            click.echo(f"The sums of {new} over {over} are removed.")
            return
        record = sums.latest(new, over)
    if as_json:
        click.echo(json.dumps(record and _as_dict(record), indent=2))
    elif record:
        click.echo(_markdown(record))
    if lacking := _lacking(new, over, record):
        click.echo(lacking, err=True)


@dataclass(frozen=True, slots=True)
class _Measure:
    """``plus_minus``: the difference is this uncertain (95 %), as far as faces are independent."""

    measure: str
    old: float | None
    new: float | None
    difference: float | None
    plus_minus: float | None = None


def _measures(figures: ShadowFigures) -> Iterator[_Measure]:
    f = figures
    yield _counted("faces restored", f.old_restored, f.new_restored)
    yield _counted("faces kept as they were", f.old_kept, f.new_kept)
    yield _counted("faces failed", f.old_failed, f.new_failed)
    yield _mean(
        "sharpness over the input's",
        f.old_sharpness,
        f.new_sharpness,
        f.compared,
        f.sharpness_squares,
    )
    yield _counted("the sharper of the two", f.old_sharper, f.new_sharper)
    yield _mean(
        "identity similarity", f.old_identity, f.new_identity, f.identified, f.identity_squares
    )
    yield _counted("the nearer of the two", f.old_nearer, f.new_nearer)
    speeds = _share(f.old_ms, f.old_restored), _share(f.new_ms, f.new_restored)
    yield _Measure("ms per restored face", *speeds, _difference(*speeds))


def _counted(measure: str, old: float, new: float) -> _Measure:
    return _Measure(measure, old, new, new - old)


def _mean(measure: str, old: float, new: float, count: float, squares: float) -> _Measure:
    """A mean of ``count`` faces; ``squares``: the sum of squared differences of the two models."""
    means = _share(old, count), _share(new, count)
    difference = _difference(*means)
    if difference is None or count < 2:
        return _Measure(measure, *means, difference)
    variance = max(0.0, squares - count * difference**2) / (count - 1)
    return _Measure(measure, *means, difference, _CONFIDENT * math.sqrt(variance / count))


def _share(total: float, count: float) -> float | None:
    return total / count if count else None


def _difference(old: float | None, new: float | None) -> float | None:
    return None if old is None or new is None else new - old


def _psnr_db(figures: ShadowFigures) -> float | None:
    """Return how near both results are; None if they are equal, or nothing was compared."""
    if not figures.squared_error:
        return None
    return 10 * math.log10(255**2 * figures.compared / figures.squared_error)


def _as_dict(record: ShadowRecord) -> dict[str, Any]:
    figures, pair = record.figures, record.pair
    return {
        "new": {"name": pair.new, "sha256": pair.new_sha256},
        "old": {"name": pair.old, "sha256": pair.old_sha256},
        "jobs": round(figures.jobs),
        "enough": figures.jobs >= ENOUGH_JOBS,
        "dropped": record.dropped,
        "failed": record.failed,
        "faces": round(figures.faces),
        "faces_compared": round(figures.compared),
        "psnr_db": _psnr_db(figures),
        "measures": [asdict(each) for each in _measures(figures)],
    }


def _markdown(record: ShadowRecord) -> str:
    figures, pair = record.figures, record.pair
    failed = ", ".join(f"{count} {reason}" for reason, count in record.failed.items())
    psnr_db = _psnr_db(figures)
    counts = (
        f"{figures.jobs:.0f} jobs, {figures.faces:.0f} faces, {figures.compared:.0f} of them "
        f"compared; dropped {record.dropped}; failed {failed or 0}"
    )
    lines = [
        f"{pair.new} ({pair.new_sha256[:12]}) in the shadow of {pair.old} ({pair.old_sha256[:12]})",
        "",
        counts,
        *([f"PSNR of one result against the other: {psnr_db:.1f} dB"] if psnr_db else []),
        "",
        f"| measure | {pair.old} | {pair.new} | difference |",
        "|---|---|---|---|",
    ]
    for each in _measures(figures):
        cells = (each.measure, _cell(each.old), _cell(each.new), _difference_cell(each))
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _cell(value: float | None, sign: str = "") -> str:
    if value is None:
        return ""
    return f"{value:{sign}.0f}" if value == round(value) else f"{value:{sign}.4f}"


def _difference_cell(measure: _Measure) -> str:
    cell = _cell(measure.difference, "+")
    return cell if measure.plus_minus is None else f"{cell} ± {measure.plus_minus:.4f}"


def _lacking(new: str, over: str, record: ShadowRecord | None) -> str | None:
    """Return what is lacking for a judgement, in words."""
    if record is None or not record.figures.jobs:
        return (
            f"No job of {over} was compared with {new}. Start workers with FACEMEND_SHADOW_MODEL="
            f"{new} and FACEMEND_SHADOW_SHARE above 0; their logs say if it cannot be loaded."
        )
    if record.figures.jobs < ENOUGH_JOBS:
        jobs = round(record.figures.jobs)
        return f"Too few jobs to judge by: {jobs}; wait for {ENOUGH_JOBS} or more."
    return None
