"""Accepted jobs per second, and response times, compared with the peer."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

from benchmarks.report import Report
from benchmarks.service.api_process import running_api, running_server
from benchmarks.service.load_generator import Load, LoadResult
from deploy.embedded.child_process import free_port
from deploy.embedded.valkey import Valkey
from shared.settings import Settings

_BODY = json.dumps({"input": {"url": "http://127.0.0.1:9/photo.jpg"}})
_MIN_RATIO, _MAX_P99_MS = 0.45, 50.0
_SECONDS = 8.0


def measure_submission(report: Report, folder: Path, repetitions: int) -> None:
    """Measure both services in turns: one process each, with the same number of threads."""
    with running_api(folder) as api, _naive(folder) as naive:
        facemend, key = f"{api.url}/v1/restorations", api.key
        rates: dict[str, list[float]] = {"naive": [], "facemend": []}
        for url, token in ((naive, ""), (facemend, key)):
            _run(Load(url, token, _BODY, seconds=2))
        for _ in range(repetitions):
            rates["naive"].append(_run(Load(naive, "", _BODY, _SECONDS)).rate)
            rates["facemend"].append(_run(Load(facemend, key, _BODY, _SECONDS)).rate)
        medians = {name: statistics.median(each) for name, each in rates.items()}
        half = {
            "naive": _run(Load(naive, "", _BODY, _SECONDS, rate=medians["naive"] / 2)),
            "facemend": _run(Load(facemend, key, _BODY, _SECONDS, rate=medians["facemend"] / 2)),
        }
    report.section(
        "Submission",
        f"Jobs per second from 8 clients: median of {repetitions} rounds of {_SECONDS:g} s, in "
        "turns; response times at half of that rate. Facemend: keys, rate limit, Idempotency-Key, "
        "checks, manifest in S3, record, doorbell. The peer: Flask and delay().",
    )
    report.table(
        "submission",
        ("service", "jobs/s", "p50 ms at half", "p99 ms at half"),
        [(name, medians[name], half[name].p50_ms, half[name].p99_ms) for name in rates],
    )
    ratio = medians["facemend"] / medians["naive"]
    report.require("jobs per second, compared with the peer", ratio, ">=", _MIN_RATIO, "x")
    report.require("p99 at half load", half["facemend"].p99_ms, "<=", _MAX_P99_MS, " ms")


def _run(load: Load) -> LoadResult:
    argv = [sys.executable, "-m", "benchmarks.service.load_generator"]
    done = subprocess.run(  # noqa: S603 - a fixed command
        argv, input=json.dumps(asdict(load)), check=True, stdout=subprocess.PIPE, text=True
    )
    result = LoadResult(**json.loads(done.stdout))
    if result.refused:
        raise SystemExit(f"{load.url} refused {result.refused} requests, so nothing was measured")
    return result


@contextmanager
def _naive(folder: Path) -> Iterator[str]:
    with Valkey(folder / "naive-redis") as valkey:
        bind = f"127.0.0.1:{free_port()}"
        threads = str(Settings.model_fields["api_threads"].default)
        argv = ["gunicorn", "--bind", bind, "--threads", threads, "benchmarks.service.naive:app"]
        env = {"NAIVE_REDIS_URL": valkey.url}
        with running_server(folder / "naive", argv, env, f"http://{bind}/"):
            yield f"http://{bind}/v1/restorations"
