"""The screen of ``facemend top``, drawn with rich."""

from __future__ import annotations

import time

from rich import box
from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from shared.jobs.job import Job
from shared.jobs.workers import LiveWorker
from worker.commands.top.snapshot import Snapshot

#: From this time on, a wait is shown in yellow, then in red.
_SLOW_S, _TOO_SLOW_S = 60.0, 300.0
_MiB = 2**20


def draw(snapshot: Snapshot, now: float | None = None) -> RenderableType:
    """Return the screen; ``now`` (Unix seconds) is for the ages of failures."""
    return Group(
        _summary(snapshot),
        _panel("Queues", _queues(snapshot)),
        _panel("Workers", _workers(snapshot.workers)),
        _panel("Last failures", _failures(snapshot.failures, time.time() if now is None else now)),
    )


def duration(seconds: float) -> str:
    """Return a time in two units at most: ``4.2 s``, ``3 min 20 s``, ``2 h 5 min``."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"


def _summary(snapshot: Snapshot) -> RenderableType:
    queued = sum(row.jobs for row in snapshot.queues)
    grid = Table.grid(padding=(0, 3))
    grid.add_row(
        Text.assemble(("queued ", "dim"), (str(queued), "bold")),
        Text.assemble(("running ", "dim"), (str(snapshot.running), "bold")),
        Text.assemble(("faces/s ", "dim"), (f"{snapshot.faces_per_s:.1f}", "bold")),
        Text.assemble(("work that waits ", "dim"), duration(snapshot.waiting_s)),
        Text.assemble(("webhooks ", "dim"), str(snapshot.webhooks)),
        Text.assemble(("late by ", "dim"), _wait(snapshot.webhook_late_s)),
        Text.assemble(("ended jobs kept ", "dim"), str(snapshot.kept)),
    )
    return grid


def _queues(snapshot: Snapshot) -> RenderableType:
    table = _table("model", "priority", ">jobs", ">oldest waits")
    for row in snapshot.queues:
        name = row.name
        wait = _wait(row.oldest_s)
        table.add_row(str(name.served), name.priority, str(row.jobs), wait)
    return table if snapshot.queues else Text("no job waits", "dim")


def _workers(workers: list[LiveWorker]) -> RenderableType:
    if not workers:
        return Text("no live worker: jobs wait until one starts", "bold red")
    table = _table(
        "worker",
        "models",
        "device",
        ">batch",
        ">places",
        ">fetches",
        ">faces/s",
        ">busy",
        ">memory",
    )
    for worker in workers:
        models = ", ".join(map(str, worker.served))
        batch = ", ".join(str(model.batch or "?") for model in worker.models)
        if (state := worker.state) is None:
            table.add_row(worker.name, models, "?", batch, *["?"] * 5)
            continue
        memory = "?" if state.memory_bytes is None else f"{state.memory_bytes / _MiB:,.0f} MiB"
        table.add_row(
            worker.name,
            models,
            state.device,
            batch,
            f"{state.places_in_use}/{state.places}",
            f"{state.fetches_in_use}/{state.fetches}",
            f"{state.faces_per_s:.1f}",
            f"{state.busy:.0%}",
            memory,
        )
    return table


def _failures(failures: list[Job], now: float) -> RenderableType:
    if not failures:
        return Text("none", "dim")
    table = _table("job", "tenant", "model", ">ago", "*problem")
    for job in failures:
        problem = job.error or {}
        ago = duration(max(0.0, now - (job.finished_at or now)))
        words = f"{problem.get('code', '?')}: {problem.get('detail', '')}"
        table.add_row(job.id, job.tenant, job.model, ago, Text(words, overflow="ellipsis"))
    return table


def _wait(seconds: float) -> Text:
    style = "green" if seconds < _SLOW_S else "yellow" if seconds < _TOO_SLOW_S else "bold red"
    return Text(duration(seconds), style)


def _table(*columns: str) -> Table:
    """Return an empty table. ``>``: aligned to the right; ``*``: gets the rest of the width."""
    table = Table(box=box.SIMPLE_HEAD, expand=True, header_style="dim", pad_edge=False)
    for name in columns:
        table.add_column(
            name.lstrip(">*"),
            justify="right" if name.startswith(">") else "left",
            ratio=1 if name.startswith("*") else None,
            no_wrap=True,
            overflow="ellipsis",
        )
    return table


def _panel(title: str, content: RenderableType) -> Panel:
    return Panel(content, title=title, title_align="left", border_style="dim")
