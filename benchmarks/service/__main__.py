"""``make bench-service``, or ``python -m benchmarks.service --help``."""

from __future__ import annotations

import os
import platform
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import click

from benchmarks.report import Report
from benchmarks.service.batch_requests import measure_batches
from benchmarks.service.device_utilization import measure_device_utilization
from benchmarks.service.expiry import measure_expiry
from benchmarks.service.page import measure_page
from benchmarks.service.records import measure_depth, measure_many_workers, measure_scripts
from benchmarks.service.result_cache import measure_result_cache
from benchmarks.service.submission import measure_submission

RESULTS = Path(__file__).parents[1] / "results"
_SECTIONS = (
    "submit",
    "batches",
    "scripts",
    "depth",
    "workers",
    "expiry",
    "page",
    "utilization",
    "cache",
)


@click.command()
@click.option("--section", "sections", type=click.Choice(_SECTIONS), multiple=True)
@click.option("--repetitions", type=click.IntRange(1), default=5, show_default=True)
@click.option(
    "--redis",
    help="Program of the Redis server for scripts and depth; default: the embedded Valkey.",
)
@click.option("--out", type=click.Path(path_type=Path), default=RESULTS / "service")
def main(*, sections: tuple[str, ...], repetitions: int, redis: str | None, out: Path) -> None:
    """Measure submission, Redis scripts, queue depth, the page, the device, and the cache."""
    chosen = sections or _SECTIONS
    report = Report("Service")
    report.section("Machine")
    report.fact("processors", os.cpu_count())
    report.fact("load at the start", Path("/proc/loadavg").read_text().split()[0])
    report.fact("Python", platform.python_version())
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        measures: dict[str, Callable[[], None]] = {
            "submit": partial(measure_submission, report, folder, repetitions),
            "batches": partial(measure_batches, report, folder / "batches", repetitions),
            "scripts": partial(measure_scripts, report, folder, redis),
            "depth": partial(measure_depth, report, folder, redis),
            "workers": partial(measure_many_workers, report, folder, redis),
            "expiry": partial(measure_expiry, report, folder / "expiry"),
            "page": partial(measure_page, report, folder / "page", repetitions),
            "utilization": partial(measure_device_utilization, report, folder / "utilization"),
            "cache": partial(measure_result_cache, report, folder / "cache", repetitions),
        }
        for section, measure in measures.items():
            if section in chosen:
                measure()
    report.write(out)
    click.echo(f"\nWritten: {out}.md and {out}.json")


if __name__ == "__main__":
    main()
