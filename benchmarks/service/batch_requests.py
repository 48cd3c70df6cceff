"""The time to accept a batch of a thousand photos, and the time of its scripts in Redis."""

from __future__ import annotations

import json
import time
import urllib.request
from pathlib import Path
from statistics import median
from typing import Any

from redis import Redis

from benchmarks.report import Report
from benchmarks.service.api_process import Api, running_api
from benchmarks.service.servers import to_settings
from deploy.embedded.valkey import Valkey
from shared.batches.batch import MAX_ITEMS, NewBatch
from shared.batches.store import BatchStore
from shared.jobs.job import Priority, new_id
from shared.jobs.record import NewJob
from shared.redis.client import connect
from shared.redis.scripts import Scripts, load_scripts

_MAX_ACCEPT_S, _MAX_SCRIPT_MS = 3.0, 5.0
_ITEM: dict[str, Any] = {"input": {"url": "https://example.com/album/1912.jpg"}}
_EVERYTHING = 100_000  # entries of the slow log


def measure_batches(report: Report, folder: Path, repetitions: int) -> None:
    """Send batches to an API, and measure their scripts on a Redis of their own."""
    with running_api(folder / "api") as api:
        times_s = [_accept(api) for _ in range(1 + repetitions)][1:]
    report.section(
        "Batches",
        f"A batch of {MAX_ITEMS} photos at URLs: the median time of {repetitions} requests. Below,"
        " the time that Redis itself needs for each script of one batch.",
    )
    report.require("a batch is accepted in", median(times_s), "<=", _MAX_ACCEPT_S, " s")
    rows = _script_times(folder / "scripts")
    report.table("batch_scripts", ("script", "calls", "median ms", "p99 ms", "longest ms"), rows)
    slowest = max(row[3] for row in rows)
    report.require("p99 of the slowest script", slowest, "<=", _MAX_SCRIPT_MS, " ms")


def _accept(api: Api) -> float:
    body = json.dumps({"items": [_ITEM] * MAX_ITEMS}).encode()
    headers = {"Authorization": f"Bearer {api.key}", "Content-Type": "application/json"}
    request = urllib.request.Request(f"{api.url}/v1/batches", body, headers)  # noqa: S310
    began = time.perf_counter()
    with urllib.request.urlopen(request) as response:  # noqa: S310  # loopback
        response.read()
    return time.perf_counter() - began


def _script_times(folder: Path) -> list[tuple[str, int, float, float, float]]:
    """Return name, calls, and milliseconds (median, p99, longest) of each script of a batch."""
    with Valkey(folder) as valkey:
        settings = to_settings({"redis_url": valkey.url})
        client = connect(settings)
        batches = BatchStore(Scripts(client), settings)
        admin: Any = Redis.from_url(valkey.admin_url, decode_responses=True)
        _run_batch(batches)  # Redis reads the scripts
        admin.config_set("slowlog-max-len", _EVERYTHING)
        admin.config_set("slowlog-log-slower-than", 0)
        admin.slowlog_reset()
        _run_batch(batches)
        entries = admin.slowlog_get(_EVERYTHING)
        admin.close()
        client.close()
    names = {script.digest: name for name, script in load_scripts().items()}
    times: dict[str, list[float]] = {}
    for entry in entries:
        words: list[str] = entry["command"].decode(errors="replace").split(" ")
        if words[0] == "EVALSHA":
            times.setdefault(names[words[1]], []).append(entry["duration"] / 1000)
    return [
        (name, len(each), median(each), sorted(each)[int(0.99 * len(each))], max(each))
        for name, each in sorted(times.items())
    ]


def _run_batch(batches: BatchStore) -> None:
    """Create, read, list, cancel and erase a batch."""
    batch_id = new_id("bat")
    new = NewBatch(batch_id, "acme", "key_1", [_job(batch_id) for _ in range(MAX_ITEMS)])
    batches.open(new)
    batches.create_jobs(batch_id, new.jobs)
    batches.get("acme", batch_id)
    for start in range(0, MAX_ITEMS, 100):
        batches.items("acme", batch_id, start, 100)
    batches.cancel("acme", batch_id)
    batches.erase("acme", batch_id)


def _job(batch_id: str) -> NewJob:
    return NewJob(
        id=new_id("job"),
        tenant="acme",
        key_id="key_1",
        model="starter",
        priority=Priority.NORMAL,
        request={"options": {"strength": 1.0}, "metadata": {"filename": "1912.jpg"}},
        source={"url": _ITEM["input"]["url"]},
        batch=batch_id,
    )
