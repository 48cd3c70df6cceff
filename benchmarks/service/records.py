"""What a job costs Redis: the time of its scripts, also with many queued jobs, and memory."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from redis import Redis

from benchmarks.report import Report
from deploy.embedded.valkey import Valkey
from shared.jobs.job import Priority, Status, new_id
from shared.jobs.record import NewJob, Outcome
from shared.jobs.store import JobStore
from shared.jobs.workers import ServedModel
from shared.redis.client import connect
from shared.redis.scripts import Scripts
from shared.settings import Settings
from shared.storage.keys import input_key, result_key

_MODEL = "facemend-starter"
_MAX_SCRIPT_MS, _MAX_BYTES, _MAX_SLOWER = 1.0, 2048.0, 1.2
_FEW, _MANY = 100, 100_000
_JOBS, _ROUND = 2000, 50
_WORKERS, _MAX_SERVED_MS = 1000, 0.3


def measure_scripts(report: Report, folder: Path, binary: str | None) -> None:
    """Measure Redis' own time for each script, and its memory for each finished job."""
    with _store(folder / "scripts", binary) as (store, client):
        server = _server(client)
        for job_id in [create_job(store) for _ in range(_ROUND)]:
            finish_job(store, job_id)
        before_bytes = _memory(client)
        costs: dict[str, float] = {}
        ids: list[str] = []
        costs["create"] = _cost_ms(
            client, lambda: ids.extend(create_job(store) for _ in range(_JOBS))
        )
        claims: list[Any] = []
        costs["claim"] = _cost_ms(
            client, lambda: claims.extend(store.runs.claim(job_id, "worker-1") for job_id in ids)
        )
        costs["beat"] = _cost_ms(
            client, lambda: [store.runs.beat(claim.job.id, claim.token) for claim in claims]
        )
        costs["finish"] = _cost_ms(
            client,
            lambda: [
                store.runs.finish(each.job.id, each.token, done(each.job.id, each.token))
                for each in claims
            ],
        )
        bytes_per_job = (_memory(client) - before_bytes) / _JOBS
    report.section(
        "Scripts",
        f"Redis' own time a call, mean of {_JOBS}; memory of a job with one face. {server}",
    )
    report.table("scripts", ("script", "ms"), list(costs.items()))
    for name in ("claim", "finish"):
        report.require(f"{name}, time of Redis", costs[name], "<=", _MAX_SCRIPT_MS, " ms")
    report.require("memory of a finished job", bytes_per_job, "<=", _MAX_BYTES, " bytes")


def measure_many_workers(report: Report, folder: Path, binary: str | None) -> None:
    """Measure what each submission asks about models, with one worker and with a thousand."""
    rows = []
    with _store(folder / "workers", binary) as (store, client):
        for count in (1, _WORKERS):
            for number in range(count):
                store.workers.announce(f"host{number}-1", _SERVED)
            calls = [_elapsed_ms(store.workers.served_models) for _ in range(500)]
            announce = [
                _elapsed_ms(lambda: store.workers.announce("host0-1", _SERVED)) for _ in range(500)
            ]
            rows.append((count, statistics.median(calls), statistics.median(announce)))
        server = _server(client)
    report.section("Many workers", f"Milliseconds a call, three models each. {server}")
    report.table("workers", ("workers", "served models", "announce"), rows)
    name = f"served models with {_WORKERS} workers"
    report.require(name, rows[-1][1], "<=", _MAX_SERVED_MS, " ms")


def measure_depth(report: Report, folder: Path, binary: str | None) -> None:
    """Measure submit and claim with few and with many queued jobs, in turns."""
    with _store(folder / "few", binary) as few, _store(folder / "many", binary) as many:
        server = _server(few[1])
        _fill(few[0], _FEW)
        _fill(many[0], _MANY)
        times: dict[str, list[float]] = {}
        for _ in range(_JOBS // _ROUND):
            for name, (store, _) in ((str(_FEW), few), (str(_MANY), many)):
                start_s = time.perf_counter()
                ids = [create_job(store) for _ in range(_ROUND)]
                created_s = time.perf_counter()
                claims = [store.runs.claim(job_id, "worker-1") for job_id in ids]
                claimed_s = time.perf_counter()
                for claim in claims:
                    assert claim is not None  # noqa: S101 - it was queued
                    store.runs.finish(claim.job.id, claim.token, done(claim.job.id, claim.token))
                times.setdefault(f"submit {name}", []).append(created_s - start_s)
                times.setdefault(f"claim {name}", []).append(claimed_s - created_s)
                store.runs.due()
    ms = {name: 1000 * statistics.median(each) / _ROUND for name, each in times.items()}
    report.section(
        "Depth of the queue", f"Milliseconds a call as the caller sees it, in turns. {server}"
    )
    rows = [(what, ms[f"{what} {_FEW}"], ms[f"{what} {_MANY}"]) for what in ("submit", "claim")]
    report.table("depth", ("call", f"{_FEW} queued", f"{_MANY} queued"), rows)
    for what, shallow, deep in rows:
        name = f"{what} with {_MANY} queued against {_FEW}"
        report.require(name, deep / shallow, "<=", _MAX_SLOWER, "x")


@contextmanager
def _store(folder: Path, binary: str | None) -> Iterator[tuple[JobStore, Redis]]:
    with Valkey(folder, binary=binary) as valkey:
        settings = Settings(_env_file=None, redis_url=valkey.url, max_queued_per_tenant=10**9)
        client = connect(settings)
        yield JobStore(Scripts(client), settings), client
        client.close()


def _server(client: Redis) -> str:
    """Name the server and its allocator: scripts create and free many small objects."""
    server: Any = client.info("server")
    memory: Any = client.info("memory")
    name = server.get("server_name", "redis")
    version = server.get("valkey_version", server["redis_version"])
    return f"Server: {name} {version}, memory by {memory['mem_allocator']}."


def _fill(store: JobStore, count: int) -> None:
    for _ in range(count):
        create_job(store)


def create_job(store: JobStore) -> str:
    """Queue a job with an uploaded photo; return its id."""
    job_id = new_id("job")
    store.create(
        NewJob(
            id=job_id,
            tenant="acme",
            key_id="key_1",
            model=_MODEL,
            priority=Priority.NORMAL,
            request=_REQUEST,
            source={"key": input_key("acme", job_id), "etag": "9" * 32},
        )
    )
    return job_id


def finish_job(store: JobStore, job_id: str) -> str:
    """Run a queued job; return the token of its run."""
    claim = store.runs.claim(job_id, "worker-1")
    assert claim is not None  # noqa: S101 - it was queued
    store.runs.finish(job_id, claim.token, done(job_id, claim.token))
    return claim.token


def _cost_ms(client: Redis, calls: Callable[[], object]) -> float:
    """Return Redis' mean time in milliseconds for the scripts that ``calls`` runs."""
    runs_before, us_before = _script_runs(client)
    calls()
    runs, us = _script_runs(client)
    return (us - us_before) / (runs - runs_before) / 1000


def _script_runs(client: Redis) -> tuple[int, int]:
    """Return how many scripts Redis has run, and for how many microseconds."""
    stats: Any = client.info("commandstats")
    each = stats.get("cmdstat_evalsha", {"calls": 0, "usec": 0})
    return int(each["calls"]), int(each["usec"])


def _elapsed_ms(call: Callable[[], object]) -> float:
    start_s = time.perf_counter()
    call()
    return 1000 * (time.perf_counter() - start_s)


def _memory(client: Redis) -> int:
    memory: Any = client.info("memory")
    return int(memory["used_memory_dataset"])


_REQUEST: dict[str, Any] = {
    "model": _MODEL,
    "options": {"faces": "all", "strength": 1.0, "seed": 0, "background": "keep"},
    "output": {"format": "png", "quality": 95, "face_crops": False, "comparison": False},
    "priority": "normal",
    "metadata": {"album": "1927"},
}
_SERVED = [
    ServedModel(name, "e" * 64, 256, "Apache-2.0", "fp32", "openvino", 48.5)
    for name in ("facemend-starter", "gpen-bfr-256", "gpen-bfr-512")
]
_FACE = {
    "index": 0,
    "box": [100.25, 50.5, 190.75, 170.0],
    "landmarks": [[120.5, 90.25], [160.0, 90.5], [140.25, 112.0], [125.5, 140.0], [156.0, 141.5]],
    "score": 0.9993,
    "status": "restored",
    "reason": None,
    "identity_similarity": None,
    "crop": None,
}


def done(job_id: str, token: str) -> Outcome:
    """Return the outcome of a run that restored one face."""
    picture = {
        "key": result_key("acme", job_id, token, "restored.png"),
        "width": 1328,
        "height": 568,
        "format": "png",
        "bytes": 1_204_331,
        "sha256": "8" * 64,
    }
    return Outcome(
        Status.SUCCEEDED,
        result={
            "image": picture,
            "comparison": None,
            "faces": [_FACE],
            "model": {"name": _MODEL, "sha256": "a" * 64, "precision": "fp32", "backend": "torch"},
            "background": None,
        },
        timings_ms={"queue": 3, "fetch": 9, "detect": 40, "restore": 90, "paste": 4, "publish": 20},
    )
