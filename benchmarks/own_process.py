"""Memory and start of one restoration, in a process of its own."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks.report import Report

_MAX_GB = 1.5
_MAX_START_S = 5.0
_STARTS = 3


def measure_first_result(report: Report, models_dir: Path, model: str) -> None:
    """Start a Python, load, restore a photo: how long, and how much memory at its peak."""
    report.section(
        "One restoration in its own process",
        "From the start of Python to the encoded result of a photo with one face. The first line "
        "finds the weights only, and makes its export; the second finds that too. Medians of "
        f"{_STARTS} starts, but for the first.",
    )
    rows = []
    for what, backend in (
        ("weights only", "auto"),
        ("weights and export", "auto"),
        ("torch", "torch"),
    ):
        if what == "weights only":
            for file in (models_dir / "exported").glob("*"):
                file.unlink()
        starts = 1 if what == "weights only" else _STARTS
        done = [_start(models_dir, model, backend) for _ in range(starts)]
        seconds = statistics.median(each[0] for each in done)
        rows.append((what, done[0][1]["runs"], seconds, max(each[1]["peak_gb"] for each in done)))
    report.table("own_process", ("found on disk", "runs", "seconds", "peak GB"), rows)
    report.bar("peak memory of a restoration", rows[1][3], "<=", _MAX_GB, " GB")
    report.bar("start to first result", rows[1][2], "<=", _MAX_START_S, " s")


def _start(models_dir: Path, model: str, backend: str) -> tuple[float, dict[str, Any]]:
    start_s = time.perf_counter()
    argv = [sys.executable, "-m", "benchmarks.own_process", str(models_dir), model, backend]
    done = subprocess.run(argv, check=True, stdout=subprocess.PIPE)  # noqa: S603 - ours
    return time.perf_counter() - start_s, json.loads(done.stdout)


def _restore_one(models_dir: Path, model: str, backend: str) -> None:
    from benchmarks.faces import free_photo  # noqa: PLC0415 - the parent needs none of these
    from worker.engine import FaceOptions, load_restorer  # noqa: PLC0415
    from worker.imaging.decode import Photo  # noqa: PLC0415
    from worker.imaging.encode import encode  # noqa: PLC0415

    restorer = load_restorer(model, models_dir=models_dir, backend=backend)
    done = restorer.restore(Photo.of_pixels(free_photo()), FaceOptions())
    encode(done.photo, "png", 95)
    info = restorer.info
    restorer.close()
    status = Path("/proc/self/status").read_text()
    peak_kb = next(int(line.split()[1]) for line in status.splitlines() if "VmHWM" in line)
    runs = f"{info.backend} {info.precision}"
    sys.stdout.write(json.dumps({"runs": runs, "peak_gb": peak_kb * 1024 / 1e9}))


if __name__ == "__main__":
    _restore_one(Path(sys.argv[1]), sys.argv[2], sys.argv[3])
