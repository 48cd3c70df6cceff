"""Compare two rules of autoscaling on bursty traces: ``python -m benchmarks.scale.autoscaling``.

Writes benchmarks/results/autoscaling.md and docs/images/autoscaling.svg.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from benchmarks.report import Report
from benchmarks.scale.fleet import (
    Arrival,
    Fleet,
    Outcome,
    Rule,
    Scaling,
    Speeds,
    by_face_seconds,
    by_list_length,
)

_ROOT = Path(__file__).resolve().parents[2]
_RESULTS = _ROOT / "benchmarks" / "results"
_HOURS = 6
#: Targets of each rule: seconds of work, or waiting jobs, for one worker.
_SECONDS, _JOBS = (5, 10, 20, 40, 80, 160), (2, 5, 10, 20, 40, 80)
_CHOSEN_S, _CHOSEN_JOBS = 20, 20


def website(die: random.Random) -> Iterator[Arrival]:
    """Portraits with one or two faces; every hour, ten minutes with twenty times as many."""
    at_s = 0.0
    while at_s < _HOURS * 3600:
        at_s += die.expovariate(6.0 if at_s % 3600 < 600 else 0.3)
        yield Arrival(at_s, die.choice((1, 1, 1, 2)))


def albums(die: random.Random) -> Iterator[Arrival]:
    """Now and then an album of 200 to 1,000 photos at once; a third are groups of 8 to 60 faces."""
    at_s = 0.0
    while at_s < _HOURS * 3600:
        at_s += die.expovariate(1 / 1500)
        for _ in range(die.randrange(200, 1000)):
            yield Arrival(at_s, die.randrange(8, 60) if die.random() < 1 / 3 else 1)


def posters(die: random.Random) -> Iterator[Arrival]:
    """Few photos with very many faces (stadiums, school years): long jobs, short queues."""
    at_s = 0.0
    while at_s < _HOURS * 3600:
        at_s += die.expovariate(1 / 90)
        yield Arrival(at_s, die.randrange(200, 1200))


TRACES: dict[str, Callable[[random.Random], Iterator[Arrival]]] = {
    "website": website,
    "albums": albums,
    "posters": posters,
}


def simulate(arrivals: Sequence[Arrival], rule: Rule) -> Outcome:
    """Run one trace with one rule."""
    return Fleet(Speeds(), Scaling(rule)).run(arrivals)


def main() -> None:
    """Simulate, and write table and plot."""
    report = Report("Autoscaling")
    report.section("Autoscaling", _note())
    curves: dict[str, dict[str, list[Outcome]]] = {}
    rows = []
    for name, trace in TRACES.items():
        arrivals = list(trace(random.Random(7)))
        curves[name] = {
            "face-seconds": [simulate(arrivals, by_face_seconds(each)) for each in _SECONDS],
            "list length": [simulate(arrivals, by_list_length(each)) for each in _JOBS],
        }
        chosen = (
            (f"{_CHOSEN_S} s of work", curves[name]["face-seconds"][_SECONDS.index(_CHOSEN_S)]),
            (
                f"{_CHOSEN_JOBS} waiting jobs",
                curves[name]["list length"][_JOBS.index(_CHOSEN_JOBS)],
            ),
        )
        rows += [
            (name, len(arrivals), rule, it.wait_s(0.5), it.wait_s(0.95), it.gpu_hours, it.restarted)
            for rule, it in chosen
        ]
    columns = (
        "trace",
        "jobs",
        "a worker for",
        "wait p50 s",
        "wait p95 s",
        "GPU hours",
        "restarted",
    )
    report.table("autoscaling", columns, rows)
    report.write(_RESULTS / "autoscaling")
    _plot(curves, _ROOT / "docs" / "images" / "autoscaling.svg")


def _note() -> str:
    speeds = Speeds()
    return (
        f"Simulated, {_HOURS} hours, seed 7: {1000 * speeds.face_s:.0f} ms a face, "
        f"{1000 * speeds.job_s:.0f} ms a job, {speeds.start_s:.0f} s until a worker is ready, "
        f"at most {Scaling(by_list_length(1)).max_workers} workers, down to none after 300 s."
    )


def _plot(curves: dict[str, dict[str, list[Outcome]]], path: Path) -> None:
    import matplotlib as mpl  # noqa: PLC0415  # only this plot needs it

    mpl.use("Agg")
    mpl.rcParams["svg.hashsalt"] = "facemend"
    from matplotlib import pyplot as plt  # noqa: PLC0415

    figure, axes = plt.subplots(1, len(curves), figsize=(11, 3.6), layout="constrained")
    for axis, (name, rules) in zip(axes, curves.items(), strict=True):
        _draw(axis, name, rules)
    axes[0].set_ylabel("wait, p95 (seconds)")
    axes[0].legend(frameon=False)
    figure.savefig(path, metadata={"Date": None})


def _draw(axis: Any, name: str, rules: dict[str, list[Outcome]]) -> None:
    for (rule, outcomes), marker in zip(rules.items(), "os", strict=True):
        hours = [each.gpu_hours for each in outcomes]
        waits = [each.wait_s(0.95) for each in outcomes]
        axis.plot(hours, waits, marker=marker, label=rule)
    axis.set(title=name, xlabel="GPU hours", xlim=(0, None), ylim=(0, None))
    axis.grid(alpha=0.3)
    axis.spines[["top", "right"]].set_visible(False)


if __name__ == "__main__":
    main()
