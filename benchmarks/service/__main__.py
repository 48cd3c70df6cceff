"""``make bench-service``, or ``python -m benchmarks.service --help``."""

from __future__ import annotations

import os
import platform
import tempfile
from pathlib import Path

import click

from benchmarks.report import Report
from benchmarks.service.records import measure_depth, measure_scripts
from benchmarks.service.slot import measure_slot
from benchmarks.service.submitting import measure_submitting

RESULTS = Path(__file__).parents[1] / "results"
_SECTIONS = ("submit", "scripts", "depth", "slot")


@click.command()
@click.option("--section", "sections", type=click.Choice(_SECTIONS), multiple=True)
@click.option("--repetitions", type=click.IntRange(1), default=5, show_default=True)
@click.option("--redis", help="Server to measure scripts and depth on; default: the embedded one.")
@click.option("--out", type=click.Path(path_type=Path), default=RESULTS / "service")
def main(*, sections: tuple[str, ...], repetitions: int, redis: str | None, out: Path) -> None:
    """Measure what the service adds: taking jobs, keeping them, and keeping the device busy."""
    chosen = sections or _SECTIONS
    report = Report("Service")
    report.section("Machine")
    report.say("processors", os.cpu_count())
    report.say("load when it began", Path("/proc/loadavg").read_text().split()[0])
    report.say("Python", platform.python_version())
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if "submit" in chosen:
            measure_submitting(report, folder, repetitions)
        if "scripts" in chosen:
            measure_scripts(report, folder, redis)
        if "depth" in chosen:
            measure_depth(report, folder, redis)
        if "slot" in chosen:
            measure_slot(report, folder / "slot")
    report.write(out)
    click.echo(f"\nWritten: {out}.md and {out}.json")


if __name__ == "__main__":
    main()
