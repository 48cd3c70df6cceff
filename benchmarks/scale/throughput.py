"""``make bench-scale``: jobs per second with 1 … 64 workers, one API, one Redis and one S3.

Photos are sent over HTTP; Celery, Redis and S3 are real; only the device is simulated. The number
of workers at which the rate falls behind is the knee, and the processors say why.
"""

from __future__ import annotations

import io
import os
import platform
import signal
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from threading import Event, Thread
from typing import Any

import click
from PIL import Image
from redis import Redis

from benchmarks.report import Report
from benchmarks.scale.processor_time import machine_seconds, processor_seconds
from benchmarks.scale.simulated_worker import MODEL, SECONDS, served_model
from benchmarks.service.api_process import Api, running_api
from benchmarks.service.load_generator import UNIQUE, Load, run
from benchmarks.service.servers import python_process, to_environment, to_settings
from deploy.embedded.child_process import ChildProcess
from shared.jobs.store import JobStore
from shared.redis.client import connect

RESULTS = Path(__file__).parents[1] / "results"
_STEPS = (1, 2, 4, 8, 16, 32, 64)
_KNEE = 0.9  # the share of the ideal rate below which more workers bring less
_WARM_UP_S, _SLICE_S = 5.0, 2.0
_WAITING = 4  # jobs in the queue for each worker
_PHOTO_PX = (640, 480)
_BOUNDARY = "benchmark"
_MULTIPART = f"multipart/form-data; boundary={_BOUNDARY}"
_FULL = 0.85  # of a processor, or of all of them: the rest is waiting and other programs
#: Words in a command line, by the name of what it runs.
_PROCESSES = {
    "API": "-m\0api",
    "workers": "benchmarks.scale.simulated_worker",
    "Redis": "valkey-server",
    "S3": "-bucket=",
}


@dataclass(frozen=True, slots=True)
class Point:
    """One number of workers. ``busy`` is in processors (1 is one that is always busy)."""

    workers: int
    jobs_per_s: float
    ideal_per_s: float
    busy: Mapping[str, float]
    connections: int

    @property
    def share(self) -> float:
        return self.jobs_per_s / self.ideal_per_s


@click.command()
@click.option("--workers", "steps", multiple=True, type=click.IntRange(1), default=_STEPS)
@click.option("--photo-seconds", type=click.FloatRange(0.01), default=1.0, show_default=True,
              help="How long a photo takes the simulated device.")  # fmt: skip
@click.option("--seconds", type=click.FloatRange(1), default=20.0, show_default=True,
              help="Of each measurement.")  # fmt: skip
@click.option("--out", type=click.Path(path_type=Path), default=RESULTS / "scale")
def main(*, steps: tuple[int, ...], photo_seconds: float, seconds: float, out: Path) -> None:
    """Measure how the service scales with the number of workers."""
    report = Report("Scale")
    report.section("Machine")
    report.fact("processors", os.cpu_count())
    report.fact("load at the start", Path("/proc/loadavg").read_text().split()[0])
    report.fact("Python", platform.python_version())
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        place = Path(folder)
        models = {"served_models": MODEL, "default_model": MODEL}
        api = stack.enter_context(running_api(place / "servers", **models))
        fleet = Fleet(place, api, photo_seconds)
        stack.callback(fleet.stop)
        points = [fleet.measure(workers, seconds) for workers in sorted(set(steps))]
    _write(report, points, photo_seconds)
    report.write(out)
    click.echo(f"\nWritten: {out}.md and {out}.json")


class Fleet:
    """Simulated workers of one service."""

    def __init__(self, folder: Path, api: Api, photo_s: float) -> None:
        self._folder, self._api, self._photo_s = folder, api, photo_s
        self._store = JobStore.connect(to_settings(api.settings))
        self._redis: Redis = connect(to_settings(api.settings))
        self._processes: list[ChildProcess] = []
        self._body = _request()
        # The API refuses jobs until a worker has announced the model.
        self._store.workers.announce("benchmark", [served_model()], 1)

    def measure(self, workers: int, seconds: float) -> Point:
        """Add workers until there are so many, and measure at a queue that is never empty."""
        self._grow(workers)
        with self._queue_kept_full(workers):
            time.sleep(_WARM_UP_S)
            started_s, jobs, busy = time.monotonic(), self._ended(), _processor_s()
            time.sleep(seconds)
            passed_s, now = time.monotonic() - started_s, _processor_s()
            done = self._ended() - jobs
            info: Any = self._redis.info("clients")
        shares = {name: (now[name] - busy[name]) / passed_s for name in now}
        point = Point(
            workers, done / passed_s, workers / self._photo_s, shares, info["connected_clients"]
        )
        click.echo(f"{workers} workers: {point.jobs_per_s:.1f} jobs/s, {point.share:.0%} of ideal")
        return point

    def stop(self) -> None:
        """End all workers."""
        for process in self._processes:
            process.signal(signal.SIGTERM)
        for process in self._processes:
            process.stop()

    def _grow(self, workers: int) -> None:
        while len(self._processes) <= workers:  # the first process is the notifier
            kind = "worker" if self._processes else "notifier"
            module = "benchmarks.scale.simulated_worker" if self._processes else "worker.notifier"
            folder = self._folder / f"{kind}-{len(self._processes)}"
            folder.mkdir()
            settings = {**self._api.settings, "result_cache": "false"}  # the photos are equal
            env = to_environment(settings) | {SECONDS: str(self._photo_s)}
            process = python_process(folder, [module], env)
            process.start()
            self._processes.append(process)
        for process in self._processes[1:]:
            process.wait_until(partial(_is_ready, process), timeout_s=180)

    @contextmanager
    def _queue_kept_full(self, workers: int) -> Iterator[None]:
        """Send photos for as long as the block runs."""
        stop = Event()
        feeder = Thread(target=self._feed, args=(workers, stop))
        feeder.start()
        try:
            yield
        finally:
            stop.set()
            feeder.join()

    def _feed(self, workers: int, stop: Event) -> None:
        while not stop.is_set():
            missing = _WAITING * workers - self._store.counts()["queued"]
            used = _SLICE_S * workers / self._photo_s
            rate = max((missing + used) / _SLICE_S, 1.0)
            url = f"{self._api.url}/v1/restorations"
            run(Load(url, self._api.key, self._body, _SLICE_S, rate=rate, content_type=_MULTIPART))

    def _ended(self) -> int:
        return self._store.counts()["kept"]


def _is_ready(process: ChildProcess) -> bool:
    return '"event": "ready' in process.log_path.read_text()


def _processor_s() -> dict[str, float]:
    own = os.times()
    ours = processor_seconds(_PROCESSES) | {"load": own.user + own.system}
    return ours | {"others": machine_seconds() - sum(ours.values())}


def _request() -> str:
    """Return the body of a submission: a photo of about 60 KB."""
    noise = Image.effect_noise(_PHOTO_PX, 40).convert("RGB")
    file = io.BytesIO()
    noise.save(file, "JPEG", quality=60, comment=UNIQUE.encode())
    head = f'--{_BOUNDARY}\r\nContent-Disposition: form-data; name="image"; filename="a.jpg"\r\n'
    body = f"{head}Content-Type: image/jpeg\r\n\r\n".encode() + file.getvalue()
    return (body + f"\r\n--{_BOUNDARY}--\r\n".encode()).decode("latin-1")


def _write(report: Report, points: Sequence[Point], photo_s: float) -> None:
    report.section(
        "Jobs per second, by the number of workers",
        f"Each photo takes the device {photo_s:g} s, so {1 / photo_s:g} jobs/s for each worker are "
        f"ideal. Photos of {_PHOTO_PX[0]} x {_PHOTO_PX[1]} px come over HTTP. The last columns "
        "say how many processors are used; load sends the photos, others are all other programs.",
    )
    names = tuple(points[0].busy)
    columns = [f"{name}: processors" for name in names]
    report.table(
        "scale",
        ("workers", "jobs/s", "ideal", "share", *columns, "all", "Redis connections"),
        [
            (
                *(point.workers, point.jobs_per_s, point.ideal_per_s, point.share),
                *(point.busy[name] for name in names),
                sum(point.busy.values()),
                point.connections,
            )
            for point in points
        ],
    )
    report.section("Knee")
    good = [point for point in points if point.share >= _KNEE]
    best = max(good, key=lambda point: point.workers) if good else points[0]
    worse = [point for point in points if point.workers > best.workers]
    report.fact("most workers at 90 % of ideal or more", best.workers)
    report.fact("jobs/s there", best.jobs_per_s)
    report.fact("reason", knee_reason(worse[0]) if worse else "none: no knee up to here")
    report.fact("Redis, ms of processor a job", 1000 * best.busy["Redis"] / best.jobs_per_s)
    report.fact("API, ms of processor a job", 1000 * best.busy["API"] / best.jobs_per_s)
    report.fact("worker, ms of processor a job", 1000 * best.busy["workers"] / best.jobs_per_s)
    full = best.jobs_per_s / max(best.busy["Redis"], 1e-3)
    report.fact("jobs/s at which Redis, which has one thread, would be full", full)


def knee_reason(point: Point) -> str:
    """Say what is full beyond the knee."""
    processors, used = os.cpu_count() or 1, sum(point.busy.values())
    name, most = max(point.busy.items(), key=lambda item: item[1])
    if point.busy["Redis"] > _FULL:
        return f"Redis, which has one thread, uses {point.busy['Redis']:.2f} of a processor"
    if point.busy["API"] > _FULL:
        return f"the one API process uses {point.busy['API']:.2f} of a processor"
    if used > _FULL * processors:
        return (
            f"all {processors} processors of this machine are used ({used:.2f}); most of them by "
            f"{name} ({most:.2f}), {point.busy['Redis']:.2f} by Redis"
        )
    return f"no process is full ({used:.2f} of {processors} processors): see the table"


if __name__ == "__main__":
    main()
