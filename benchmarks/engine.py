"""The engine beside its peer: ``make bench-engine``, or ``python -m benchmarks.engine --help``."""

from __future__ import annotations

import importlib.metadata
import logging
import platform
import tempfile
from pathlib import Path

import click
import torch

from benchmarks import gpu
from benchmarks.batches import measure_batching
from benchmarks.candidates import CPU
from benchmarks.golden import save_golden
from benchmarks.own_process import measure_first_result
from benchmarks.report import Report
from benchmarks.speed import measure_speed
from benchmarks.whole_photo import measure_whole_photo
from worker.engine.backends.measured_times import SHIPPED, machine_name, write_figures

RESULTS = Path(__file__).parent / "results"
_SECTIONS = ("speed", "batches", "photo", "process", "gpu")


@click.command()
@click.option("--size", "sizes", type=click.Choice([256, 512]), multiple=True, default=(256, 512))
@click.option("--section", "sections", type=click.Choice(_SECTIONS), multiple=True)
@click.option("--repetitions", type=click.IntRange(1), default=7, show_default=True)
@click.option("--out", type=click.Path(path_type=Path), default=RESULTS / "engine")
@click.option("--ship", is_flag=True, help="Put the figures into the package, for backend auto.")
def main(
    *,
    sizes: tuple[int, ...],
    sections: tuple[str, ...],
    repetitions: int,
    out: Path,
    ship: bool,
) -> None:
    """Measure exact mode, fast mode, batches, a whole photo, memory and start, and a GPU."""
    logging.basicConfig(level="WARNING")
    chosen = sections or _SECTIONS
    report = Report("Engine")
    _describe_machine(report)
    with tempfile.TemporaryDirectory() as folder:
        models_dir = Path(folder)
        for size_px in sizes:
            save_golden(models_dir, size_px)
            if "speed" in chosen:
                measure_speed(report, models_dir, size_px, repetitions)
            if "batches" in chosen:
                figures = measure_batching(report, models_dir, size_px, repetitions)
                if ship:
                    write_figures(SHIPPED, figures)
        model = f"golden-{max(sizes)}"
        if "photo" in chosen:
            measure_whole_photo(report, models_dir, model)
        if "process" in chosen:
            measure_first_result(report, models_dir, model)
        if "gpu" in chosen:
            gpu.measure(report, models_dir, model, repetitions)
    report.write(out)
    click.echo(f"\nWritten: {out}.md and {out}.json")


def _describe_machine(report: Report) -> None:
    features = torch.cpu.get_capabilities()
    wide = ("avx2", "avx512_f", "avx512_bf16", "amx_bf16", "amx_tile")
    report.section("Machine")
    report.say("processor", machine_name(CPU))
    report.say("features", ", ".join(name for name in wide if features.get(name)) or "none")
    report.say("threads", torch.get_num_threads())
    report.say("load when it began", Path("/proc/loadavg").read_text().split()[0])
    report.say("Python", platform.python_version())
    for package in ("torch", "onnxruntime", "openvino", "onnx", "numpy"):
        try:
            version = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            version = "not installed"
        report.say(package, version)


if __name__ == "__main__":
    main()
