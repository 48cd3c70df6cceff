"""What ``facemend restore`` shows: a progress bar, a line or a table, and reasons."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence

from rich.console import Console
from rich.markup import escape
from rich.progress import track
from rich.table import Column, Table

from worker.commands.exit_codes import line_of
from worker.commands.restore.batch import Outcome, PhotoBatch
from worker.commands.restore.plan import DONE_BEFORE, Plan
from worker.commands.terminal import say, shown


def run_with_progress(batch: PhotoBatch, plan: Plan, *, visible: bool) -> list[Outcome]:
    """Run the plan; a terminal shows a progress bar on stderr if there is more than one photo."""
    console = Console(stderr=True)
    hidden = not visible or len(plan.steps) < 2 or not console.is_terminal
    bar = track(
        batch.run(plan),
        description="Restoring",
        total=len(plan.steps),
        console=console,
        disable=hidden,
        transient=True,
    )
    return list(bar)


def print_report(outcomes: Sequence[Outcome], *, left_out: int, verbose: bool) -> None:
    """Print results to stdout, failures and warnings to stderr.

    ``left_out`` is the number of subfolders that were not restored.
    """
    for outcome in outcomes:
        if outcome.error:
            say(f"{outcome.source}: {line_of(outcome.error)}", err=True)
        for warning in outcome.warnings:
            say(f"{outcome.source}: {warning}", err=True)
    if len(outcomes) == 1:
        _print_line(outcomes[0])
    else:
        _print_summary(outcomes)
    if any(outcome.reason == DONE_BEFORE for outcome in outcomes):
        say("What was done before is kept: --no-resume restores it again.")
    if left_out:
        say(f"{left_out} subfolder(s) were left out: --recursive restores them, too.")
    if verbose:
        _print_faces(outcomes)


def _print_line(outcome: Outcome) -> None:
    if outcome.reason:
        say(f"{outcome.source}: skipped, {outcome.reason}")
    if outcome.output is None or outcome.reason:
        return
    restored = sum(face.status == "restored" for face in outcome.faces)
    took = ", ".join(f"{stage} {ms} ms" for stage, ms in outcome.timings_ms.items())
    say(f"{outcome.output}: {restored} of {len(outcome.faces)} face(s) restored ({took})")
    if outcome.comparison:
        say(f"{outcome.comparison}: before and after")


def _print_summary(outcomes: Sequence[Outcome]) -> None:
    table = Table(
        Column("photo", overflow="fold"), "status", "faces", Column("result", overflow="fold")
    )
    common = os.path.commonpath([outcome.source.parent for outcome in outcomes])
    for outcome in outcomes:
        restored = sum(face.status == "restored" for face in outcome.faces)
        faces = "" if outcome.error or outcome.reason else f"{restored} of {len(outcome.faces)}"
        result = outcome.error.code if outcome.error else str(outcome.output or outcome.reason)
        photo = str(outcome.source.relative_to(common))
        table.add_row(escape(shown(photo)), outcome.status, faces, escape(shown(result)))
    console = Console()
    console.print(table)
    counts = Counter[str](outcome.status for outcome in outcomes)
    reasons = Counter(outcome.reason for outcome in outcomes if outcome.reason)
    said = [f"{counts[s]} {s}" for s in ("restored", "unchanged", "skipped", "failed")]
    why = "; ".join(f"{count} {reason}" for reason, count in reasons.items())
    say(", ".join(said) + (f" (skipped: {why})" if why else ""))


def _print_faces(outcomes: Sequence[Outcome]) -> None:
    table = Table(
        Column("photo", overflow="fold"), "face", "box", "score", "status", "reason", "alike"
    )
    for outcome in outcomes:
        for face in outcome.faces:
            box = " ".join(f"{value:.0f}" for value in face.box)
            table.add_row(
                escape(shown(outcome.source.name)),
                str(face.index),
                box,
                f"{face.score:.3f}",
                face.status,
                face.reason or "",
                "" if face.identity_similarity is None else f"{face.identity_similarity:.2f}",
            )
    Console().print(table)
