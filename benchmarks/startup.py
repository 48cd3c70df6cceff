"""Start-up time and peak memory of one restoration in a new process."""

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


def measure_startup(report: Report, models_dir: Path, model: str) -> None:
    """Measure from the start of Python to the first encoded result."""
    report.section(
        "One restoration in its own process",
        "Time from the start of Python to the encoded result of a photo with one face. In the "
        "first row only the weights are on disk, and the export is made; in the second row the "
        f"export is on disk too. Medians of {_STARTS} starts, except the first row.",
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
    report.table("startup", ("found on disk", "runs", "seconds", "peak GB"), rows)
    report.require("peak memory of a restoration", rows[1][3], "<=", _MAX_GB, " GB")
    report.require("start to first result", rows[1][2], "<=", _MAX_START_S, " s")


def _start(models_dir: Path, model: str, backend: str) -> tuple[float, dict[str, Any]]:
    start_s = time.perf_counter()
    argv = [sys.executable, "-m", "benchmarks.startup", str(models_dir), model, backend]
    done = subprocess.run(argv, check=True, stdout=subprocess.PIPE)  # noqa: S603 - a fixed command
    return time.perf_counter() - start_s, json.loads(done.stdout)


def _restore_one(models_dir: Path, model: str, backend: str) -> None:
    from benchmarks.faces import public_domain_photo  # noqa: PLC0415 - the parent does not need them
    from worker.engine import FaceOptions, load_restorer  # noqa: PLC0415
    from worker.imaging.decode import Photo  # noqa: PLC0415
    from worker.imaging.encode import encode  # noqa: PLC0415

    restorer = load_restorer(model, models_dir=models_dir, backend=backend)
    done = restorer.restore(Photo.of_pixels(public_domain_photo()), FaceOptions())
    encode(done.photo, "png", 95)
    info = restorer.info
    restorer.close()
    status = Path("/proc/self/status").read_text()
    peak_kb = next(int(line.split()[1]) for line in status.splitlines() if "VmHWM" in line)
    runs = f"{info.backend} {info.precision}"
    sys.stdout.write(json.dumps({"runs": runs, "peak_gb": peak_kb * 1024 / 1e9}))


if __name__ == "__main__":
    _restore_one(Path(sys.argv[1]), sys.argv[2], sys.argv[3])
