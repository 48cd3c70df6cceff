"""``python -m benchmarks.service.slow_clients``: what slow clients do to others.

For each kind of attack (``benchmarks.service.attackers``), other clients ask 50 times a second,
each on a connection of its own; the time of an answer counts from when its request was due.
"""

from __future__ import annotations

import asyncio
import json
import math
import os
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import click
import httpx

from benchmarks.report import Report
from benchmarks.service.api_process import API, Api, running_api
from benchmarks.service.attackers import KINDS, Attack

RESULTS = Path(__file__).parents[1] / "results" / "slow_clients"
_RATE, _ANSWER_LIMIT_S = 50.0, 10.0
CLIENTS, STREAMS = 300, 500
MAX_P95_MS, FREED_S = 100.0, 20.0
_ATTACK_S, _AFTER_S = 24.0, 20.0
#: Descriptors that may differ from before: connections to Redis and S3, and other clients' own.
_SPARE_DESCRIPTORS = 40


@dataclass(frozen=True, slots=True)
class Asked:
    """What other clients saw: seconds and status (0: no answer) of each request."""

    answers: list[tuple[float, int]]

    @property
    def failed(self) -> int:
        return sum(status != 200 for _, status in self.answers)

    def percentile_ms(self, share: float) -> float:
        times = sorted(seconds for seconds, _ in self.answers)
        return 1000 * times[math.ceil(share * len(times)) - 1]


@dataclass(frozen=True, slots=True)
class Usage:
    """Of all processes of the server."""

    descriptors: int
    memory_mb: float


def members_of(pid: int) -> list[int]:
    """The process ``pid`` and its children. Reads all of /proc: not beside a measurement."""
    found = [entry for entry in Path("/proc").iterdir() if entry.name.isdigit()]
    return [pid, *(int(entry.name) for entry in found if _parent(entry) == pid)]


def usage(members: Sequence[int]) -> Usage:
    """What these processes hold now (Linux)."""
    descriptors = sum(len(list(Path(f"/proc/{member}/fd").iterdir())) for member in members)
    pages = sum(int(Path(f"/proc/{member}/statm").read_text().split()[1]) for member in members)
    return Usage(descriptors, pages * 4096 / 1e6)


def _parent(entry: Path) -> int:
    try:
        return int((entry / "stat").read_text().rsplit(")", 1)[1].split()[1])
    except OSError:
        return 0


async def ask(port: int, key: str, job_id: str, seconds: float) -> Asked:
    """Ask for a job and for health in turn, ``_RATE`` times a second."""
    loop = asyncio.get_running_loop()
    start_s = loop.time() + 0.1
    paths = (f"/v1/restorations/{job_id}", "/healthz")

    async def one(number: int) -> tuple[float, int]:
        due_s = start_s + number / _RATE
        await asyncio.sleep(due_s - loop.time())
        try:
            async with asyncio.timeout_at(due_s + _ANSWER_LIMIT_S):
                status = await _get(port, key, paths[number % 2])
        except (TimeoutError, OSError, ValueError):
            status = 0
        return loop.time() - due_s, status

    return Asked(list(await asyncio.gather(*(one(n) for n in range(int(seconds * _RATE))))))


async def _get(port: int, key: str, path: str) -> int:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        head = f"GET {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {key}\r\n"
        writer.write(f"{head}Connection: close\r\n\r\n".encode())
        answer = await reader.read()
    finally:
        writer.close()
    return int(answer[9:12])


@dataclass(frozen=True, slots=True)
class Outcome:
    """``freed_s``: until the server's descriptors were back; None: not while we looked."""

    asked: Asked
    freed_s: float | None
    statuses: dict[str, int]
    memory_mb: float


@dataclass(frozen=True, slots=True)
class Target:
    """An API process, and a tenant's key with one of its queued jobs: a client's, an attacker's."""

    pid: int
    port: int
    client: tuple[str, str]
    attacker: tuple[str, str]


def run_attack(target: Target, kind: str) -> Outcome:
    """Attack, ask meanwhile, and watch the server's descriptors until they are back."""
    members = members_of(target.pid)
    before = usage(members)
    attack = Attack(kind, target.port, clients_of(kind), _ATTACK_S, *target.attacker)
    argv = [sys.executable, "-m", "benchmarks.service.attackers"]
    attackers = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)  # noqa: S603 - ours
    assert attackers.stdin is not None  # noqa: S101 - it is a pipe
    attackers.stdin.write(json.dumps(asdict(attack)))
    attackers.stdin.close()
    attackers.stdin = None
    began_s = time.monotonic()
    asked, freed_s = asyncio.run(_ask_and_watch(target, members, before, began_s))
    said, _ = attackers.communicate(timeout=60)
    after = usage(members)
    return Outcome(asked, freed_s, json.loads(said)["statuses"], after.memory_mb - before.memory_mb)


def clients_of(kind: str) -> int:
    """How many connections an attack of this kind holds."""
    return STREAMS if kind == "event streams" else CLIENTS


async def _ask_and_watch(
    target: Target, members: Sequence[int], before: Usage, began_s: float
) -> tuple[Asked, float | None]:
    asking = asyncio.ensure_future(ask(target.port, *target.client, _ATTACK_S - 2))
    freed_s: float | None = None
    while time.monotonic() < began_s + _ATTACK_S + _AFTER_S:
        await asyncio.sleep(0.5)
        now = usage(members).descriptors
        held = now > before.descriptors + _SPARE_DESCRIPTORS
        seen_s = time.monotonic() - began_s
        freed_s = None if held else (freed_s or seen_s)
        if freed_s and asking.done() and seen_s > _ATTACK_S + 1:
            break
    return await asking, freed_s


def measure(report: Report, folder: Path, argv: Sequence[str], kinds: Sequence[str]) -> None:
    """Each kind against the same server; the first row is the server without an attack."""
    rows: list[tuple[str, int, float, float, float, int, float | None, str, float]] = []
    with running_api(folder, argv) as api:
        target = Target(
            api.process.pid,
            api.port,
            (api.key, _submit(api, api.key)),
            (api.other_key, _submit(api, api.other_key)),
        )
        asyncio.run(ask(api.port, *target.client, 2))  # connects to Redis, imports, …
        quiet = asyncio.run(ask(api.port, *target.client, 10))
        base_ms = quiet.percentile_ms(0.95)
        rows.append(("nobody", 0, base_ms, 1.0, quiet.percentile_ms(1), quiet.failed, 0.0, "", 0.0))
        for kind in kinds:
            found = run_attack(target, kind)
            p95_ms = found.asked.percentile_ms(0.95)
            statuses = ", ".join(f"{name}: {count}" for name, count in found.statuses.items())
            slowest_ms = found.asked.percentile_ms(1)
            row = (kind, clients_of(kind), p95_ms, p95_ms / base_ms, slowest_ms, found.asked.failed)
            rows.append((*row, found.freed_s, statuses, found.memory_mb))
            click.echo(f"{kind}: p95 {p95_ms:.0f} ms, {found.asked.failed} failed")
    columns = "attack, connections, p95 ms, times the quiet p95, slowest ms, failed, freed s"
    columns += ", statuses given, memory MB"
    report.table("attacks", columns.split(", "), rows)
    attacked = rows[1:]
    report.require("p95 of other clients", max(row[2] for row in attacked), "<=", MAX_P95_MS, " ms")
    failed = sum(row[5] for row in attacked)
    report.require("requests of other clients that failed", failed, "<=", 0)
    held = [math.inf if r[6] is None else r[6] for r in attacked if "event" not in r[0]]
    report.require("connections are freed within", max(held, default=0.0), "<=", FREED_S, " s")


def _submit(api: Api, key: str) -> str:
    """A job that stays queued."""
    answer = httpx.post(
        f"{api.url}/v1/restorations",
        json={"input": {"url": "http://127.0.0.1:9/photo.jpg"}},
        headers={"Authorization": f"Bearer {key}"},
        trust_env=False,
    )
    answer.raise_for_status()
    return str(answer.json()["id"])


@click.command()
@click.option("--kind", "kinds", type=click.Choice(tuple(KINDS)), multiple=True)
@click.option("--server", help="Python module and arguments of another server; {port} is its port.")
@click.option("--out", type=click.Path(path_type=Path), default=RESULTS)
def main(*, kinds: tuple[str, ...], server: str | None, out: Path) -> None:
    """Hold 300 connections of each kind and measure what other clients see."""
    report = Report("Slow clients")
    report.section(
        "Attacks",
        f"{CLIENTS} connections of each kind ({STREAMS} event streams), held for {_ATTACK_S:g} s,"
        f" beside {_RATE:g} requests a second of other clients, each on a connection of its own.",
    )
    report.fact("server", server or "ours")
    report.fact("processors", os.cpu_count())
    report.fact("load when it began", Path("/proc/loadavg").read_text().split()[0])
    with tempfile.TemporaryDirectory() as name:
        measure(report, Path(name), shlex.split(server) if server else API, kinds or tuple(KINDS))
    report.write(out)
    click.echo(f"\nWritten: {out}.md and {out}.json")


if __name__ == "__main__":
    main()
