"""What ``facemend restore`` shows: a progress bar, a line or a table, and reasons."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import click
from rich.console import Console
from rich.markup import escape
from rich.progress import track
from rich.table import Column, Table

from worker.commands.failure import line_of
from worker.commands.restore.batch import Outcome, PhotoBatch, Work


def run_with_progress(
    batch: PhotoBatch, work: Sequence[Work | Outcome], *, visible: bool
) -> list[Outcome]:
    """Run it, with a bar on stderr where there is more than one photo and someone to look."""
    console = Console(stderr=True)
    hidden = not visible or len(work) < 2 or not console.is_terminal
    bar = track(
        batch.run(work),
        description="Restoring",
        total=len(work),
        console=console,
        disable=hidden,
        transient=True,
    )
    return list(bar)


def print_report(outcomes: Sequence[Outcome], *, verbose: bool) -> None:
    """Results to stdout, failures and warnings to stderr."""
    for outcome in outcomes:
        if outcome.error:
            click.echo(f"{outcome.source}: {line_of(outcome.error)}", err=True)
        for warning in outcome.warnings:
            click.echo(f"{outcome.source}: {warning}", err=True)
    if len(outcomes) == 1:
        _print_line(outcomes[0])
    else:
        _print_summary(outcomes)
    if verbose:
        _print_faces(outcomes)


def _print_line(outcome: Outcome) -> None:
    if outcome.output is None:
        return
    restored = sum(face.status == "restored" for face in outcome.faces)
    took = ", ".join(f"{stage} {ms} ms" for stage, ms in outcome.timings_ms.items())
    click.echo(f"{outcome.output}: {restored} of {len(outcome.faces)} face(s) restored ({took})")
    if outcome.comparison:
        click.echo(f"{outcome.comparison}: before and after")


def _print_summary(outcomes: Sequence[Outcome]) -> None:
    table = Table(
        Column("photo", overflow="fold"), "status", "faces", Column("result", overflow="fold")
    )
    for outcome in outcomes:
        restored = sum(face.status == "restored" for face in outcome.faces)
        faces = f"{restored} of {len(outcome.faces)}" if outcome.output else ""
        result = outcome.error.code if outcome.error else str(outcome.output or "")
        table.add_row(escape(outcome.source.name), outcome.status, faces, escape(result))
    console = Console()
    console.print(table)
    counts = Counter[str](outcome.status for outcome in outcomes)
    said = [f"{counts[s]} {s}" for s in ("restored", "unchanged", "skipped", "failed")]
    click.echo(", ".join(said))


def _print_faces(outcomes: Sequence[Outcome]) -> None:
    table = Table(
        Column("photo", overflow="fold"), "face", "box", "score", "status", "reason", "alike"
    )
    for outcome in outcomes:
        for face in outcome.faces:
            box = " ".join(f"{value:.0f}" for value in face.box)
            table.add_row(
                escape(outcome.source.name),
                str(face.index),
                box,
                f"{face.score:.3f}",
                face.status,
                face.reason or "",
                "" if face.identity_similarity is None else f"{face.identity_similarity:.2f}",
            )
    Console().print(table)
