"""``make soak``: the whole service under steady traffic; its memory and descriptors must be flat.

Real API, worker with the model in the package, notifier, Redis and S3. After a warm-up, every
process that lives is measured. Exit code 1: something grows, a process ended, a client met an
error, or a kind of client never succeeded.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
import time
from pathlib import Path

import click

from shared.errors import StackFailed
from tests.chaos.processes import name, tree
from tests.chaos.receiver import Receiver
from tests.chaos.service import Service
from tests.conftest import inside_package
from tests.soak.series import Series, table
from tests.soak.traffic import Traffic

_MODEL = "facemend-starter"
_KEPT_S = 20  # results and inputs: within the warm-up, as many expire as are made
_SAMPLE_S = 2.0
_READY_S = 300.0  # the worker exports and warms its model, on a machine that may be busy
_MIB = 1 << 20
#: Memory that a process may gain: its allocator keeps some more with time, up to a limit.
_MEMORY = (8.0, 0.08)  # MiB, or a share of what it has
#: SeaweedFS fills caches of its own. Valkey's memory is also that of its data, whose growth has a
#: bound of its own below, and its allocator keeps freed chunks (see valkey.py).
_MEMORY_OF_SERVERS = {"s3 server": (8.0, 0.25), "redis server": (16.0, 0.08)}
_DESCRIPTORS = 3.0
#: An erased id stays blocked, and an idempotency key valid, for 24 hours: bytes for each job.
_REDIS_BYTES_PER_JOB = 1500.0


@click.command()
@click.option("--minutes", type=click.FloatRange(min=3), default=30.0, show_default=True)
@click.option("--folder", type=click.Path(path_type=Path), help="Keep data and logs here.")
def main(minutes: float, folder: Path | None) -> None:
    """Run the service for some minutes, the first third of them (at most 5) as warm-up."""
    place = folder or Path(tempfile.mkdtemp(prefix="facemend-soak-"))
    settings = {
        "default_model": _MODEL,
        "result_ttl_s": _KEPT_S,
        "input_ttl_s": _KEPT_S,
        "result_cache": False,  # the photos are equal
    }
    with Service(place / "service", settings=settings) as service, Receiver() as receiver:
        api, *_ = parts = [service.launch(kind) for kind in ("api", "real-worker", "notifier")]
        for part in parts:
            service.wait_ready(part, _READY_S)
        _, api_key = service.keys.create("acme", "soak")
        photo = inside_package("skimage", "data/astronaut.png")
        with Traffic(api.url, api_key, receiver.url(), photo) as traffic:
            time.sleep(60 * min(minutes / 3, 5))
            measurement = Measurement(service, traffic)
            measurement.run(60 * (minutes - min(minutes / 3, 5)))
    click.echo(table(measurement.series))
    click.echo(f"\n{measurement.jobs} jobs measured in {minutes:g} min; {dict(traffic.done)};")
    click.echo(f"{len(receiver.arrivals())} webhooks; {len(traffic.errors)} errors")
    problems = traffic.problems()
    if not receiver.arrivals():
        problems.append("no webhook came")
    growing = [each for each in measurement.series if not each.is_flat]
    problems += [f"{each.subject}: {each.quantity}" for each in growing]
    if problems:
        sys.exit("\n".join(["", *problems]))
    if folder is None:
        shutil.rmtree(place, ignore_errors=True)


class Measurement:
    """Samples of every process that is there when it begins, and of Redis."""

    def __init__(self, service: Service, traffic: Traffic) -> None:
        self._service, self._traffic = service, traffic
        self._memory = {
            pid: Series(subject, "memory", "MiB", *_MEMORY_OF_SERVERS.get(subject, _MEMORY))
            for pid, subject in _processes(service).items()
        }
        self._descriptors = {
            pid: Series(each.subject, "descriptors", "open", _DESCRIPTORS)
            for pid, each in self._memory.items()
        }
        self._redis = Series("redis", "data", "KiB", 0)
        self.jobs = 0

    @property
    def series(self) -> list[Series]:
        return [*self._memory.values(), *self._descriptors.values(), self._redis]

    def run(self, seconds: float) -> None:
        jobs_before, end = self._traffic.jobs, time.monotonic() + seconds
        while (now := time.monotonic()) < end:
            self._sample(now)
            time.sleep(_SAMPLE_S)
        self.jobs = self._traffic.jobs - jobs_before
        self._redis.allowed = self.jobs * _REDIS_BYTES_PER_JOB / 1024
        for memory in self._memory.values():
            if memory.subject == "redis server":
                memory.allowed += max(0.0, self._redis.growth) / 1024

    def _sample(self, now: float) -> None:
        for pid, memory in self._memory.items():
            try:
                pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
                descriptors = len(list(Path(f"/proc/{pid}/fd").iterdir()))
            except OSError:
                memory.ended = True
                continue
            memory.add(now, pages * os.sysconf("SC_PAGESIZE") / _MIB)
            self._descriptors[pid].add(now, descriptors)
        self._redis.add(now, self._service.redis.info("memory")["used_memory_dataset"] / 1024)  # type: ignore[index]


def _processes(service: Service) -> dict[int, str]:
    """Return pid → name of every process that lives for longer than a decoder child."""
    servers = {"redis server": service.valkey.child, "s3 server": service.seaweed.child}
    roots = {kind: child.pid for kind, child in servers.items() if child is not None}
    roots |= {part.kind: part.pid for part in service.parts}
    first = {kind: tree(pid) for kind, pid in roots.items()}
    time.sleep(3)
    found = {}
    for kind, pid in roots.items():
        for each in sorted(first[kind] & tree(pid)):
            found[each] = kind if each == pid else f"{kind}: {_role(each)}"
    return found


def _role(pid: int) -> str:
    words = name(pid)
    return next((role for role in ("engine_process", "fork_server") if role in words), "child")


if __name__ == "__main__":
    try:
        main()
    except StackFailed as error:
        sys.exit(f"soak: {error.detail}")
