from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.scale.throughput import Point, knee_reason
from tests.conftest import ROOT

BUSY = {"API": 0.1, "workers": 0.2, "Redis": 0.05, "S3": 0.1, "load": 0.0, "others": 0.0}
POINT = Point(workers=8, jobs_per_s=4.0, ideal_per_s=8.0, busy=BUSY, connections=20)


@pytest.mark.e2e
@pytest.mark.timeout(240)
def test_photos_go_over_http_through_simulated_workers(tmp_path: Path) -> None:
    arguments = ["--workers", "1", "--workers", "2", "--seconds", "2", "--photo-seconds", "0.2"]
    argv = [sys.executable, "-m", "benchmarks.scale.throughput", *arguments]
    argv += ["--out", str(tmp_path / "scale")]
    done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    rows = json.loads((tmp_path / "scale.json").read_text())["tables"]["scale"]
    assert [(row["workers"], row["ideal"]) for row in rows] == [(1, 5.0), (2, 10.0)]
    for row in rows:
        assert row["jobs/s"] > 0
        assert all(row[f"{name}: processors"] > 0 for name in ("API", "workers", "Redis", "S3"))


@pytest.mark.parametrize(
    ("busy", "words"),
    [
        ({"Redis": 0.95}, "Redis, which has one thread"),
        ({"API": 1.2}, "the one API process"),
        ({"workers": 0.9 * (os.cpu_count() or 1)}, "most of them by workers"),
        ({"others": 0.9 * (os.cpu_count() or 1)}, "most of them by others"),
        ({}, "no process is full"),
    ],
)
def test_the_reason_of_the_knee_is_what_is_full(busy: dict[str, float], words: str) -> None:
    assert words in knee_reason(replace(POINT, busy=BUSY | busy))
