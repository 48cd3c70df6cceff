"""Start-up time, CPU time and peak memory of ``facemend restore`` with one small photo."""

from __future__ import annotations

import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.report import Report
from worker.commands.stack.demo_pictures import free_photo, spoil
from worker.weights.catalogue import STARTER

_MAX_GB = 1.5
_MAX_START_S = 2.0
_MAX_CPU_S = 2.5
_STARTS = 5
#: Wall seconds, CPU seconds (user and system, with all children), GB of the largest process.
_Cost = tuple[float, float, float]


def measure_startup(report: Report, models_dir: Path, large: str) -> None:
    """Measure the whole command, from the start of Python to its end.

    Memory must suffice for the network ``large``; time is required of the model in the package.
    """
    report.section(
        "One photo by the command line",
        "`facemend restore` of a photo with one face, from the start of Python to the end. CPU "
        "time is user and system. In the first row of a model only its weights are on disk, and "
        "the exports are made; in the second row the exports are on disk too. Medians of "
        f"{_STARTS} starts, except the first row. Peak memory is that of the benchmark itself "
        "where the command needs less.",
    )
    rows = []
    for model in (STARTER, large):
        for what, backend in (
            ("weights only", "auto"),
            ("weights and exports", "auto"),
            ("torch", "torch"),
        ):
            starts = 1 if what == "weights only" else _STARTS
            costs = [restore_once(models_dir, model, backend) for _ in range(starts)]
            rows.append((model, what, *map(statistics.median, zip(*costs, strict=True))))
    header = ("model", "found on disk", "seconds", "CPU seconds", "peak GB")
    report.table("startup", header, rows)
    (_, _, seconds, cpu_s, _), (*_, peak_gb) = rows[1], rows[4]
    report.require(f"CPU time, {STARTER}", cpu_s, "<=", _MAX_CPU_S, " s")
    report.require(f"start to end, {STARTER}", seconds, "<=", _MAX_START_S, " s")
    report.require(f"peak memory, {large}", peak_gb, "<=", _MAX_GB, " GB")


def restore_once(models_dir: Path, model: str, backend: str) -> _Cost:
    """Run the command in a new process. Raises RuntimeError if it fails."""
    with tempfile.TemporaryDirectory() as folder:
        photo, result = Path(folder) / "photo.png", Path(folder) / "result.png"
        spoil(free_photo()).save(photo)
        argv = [sys.executable, "-m", "worker.cli", "restore", str(photo), "-o", str(result)]
        argv += ["--json", "--device", "cpu", "--backend", backend, "--model", model]
        environ = os.environ | {"FACEMEND_MODELS_DIR": str(models_dir)}
        start_s = time.perf_counter()
        silent = [(os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0)]
        pid = os.posix_spawn(sys.executable, argv, environ, file_actions=silent)
        _, status, used = os.wait4(pid, 0)
        seconds = time.perf_counter() - start_s
    if status:
        raise RuntimeError(f"facemend restore ended with {os.waitstatus_to_exitcode(status)}")
    return seconds, used.ru_utime + used.ru_stime, used.ru_maxrss * 1024 / 1e9
