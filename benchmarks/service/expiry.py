"""How many jobs a second a notifier erases, beside what the object storage itself can delete."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import median

from redis import Redis

from benchmarks.report import Report
from benchmarks.service.records import create_job, finish_job
from benchmarks.service.servers import run_servers, to_settings
from shared.jobs.store import JobStore
from shared.redis.client import connect
from shared.redis.scripts import Scripts
from shared.storage.bucket import ObjectStorage
from shared.storage.keys import input_key, result_key
from worker.notifier.expiry import Expiry

_MIN_JOBS_S = 1000.0
_JOBS, _ROUNDS, _THREADS, _AT_ONCE = 2000, 3, 4, 500


def measure_expiry(report: Report, folder: Path) -> None:
    """Erase jobs, each with a photo and a result, and delete as many objects directly, in turns."""
    with run_servers(folder) as values:
        settings = to_settings(values)
        client = connect(settings)
        store, storage = JobStore(Scripts(client), settings), ObjectStorage(settings)
        expiry = Expiry(store, storage)
        erased, deleted = [], []
        for _ in range(_ROUNDS):
            _fill(store, storage, client)
            erased.append(_rate(expiry.erase_expired))
            left = len(list(storage.list("tenants/")))
            assert left == 0, f"{left} objects are left"  # noqa: S101 - the rate would be wrong
            keys = _fill(store, storage, client)
            deleted.append(_rate(lambda keys=keys: _delete(storage, keys)))  # type: ignore[misc]
            client.delete("fm:expiry")
        client.close()
    report.section(
        "Expiry",
        f"Median of {_ROUNDS} rounds of {_JOBS} jobs with a photo and a result each, in turns.",
    )
    rows = [
        ("a notifier erases", median(erased)),
        ("the storage deletes the same objects", median(deleted)),
    ]
    report.table("expiry", ("what", "jobs a second"), rows)
    report.require("expiry", median(erased), ">=", _MIN_JOBS_S, " jobs/s")


def _fill(store: JobStore, storage: ObjectStorage, client: Redis) -> list[str]:
    """Make expired jobs with their objects; return the keys of the objects."""
    keys, ids = [], []
    for _ in range(_JOBS):
        job_id = create_job(store)
        token = finish_job(store, job_id)
        keys += [input_key("acme", job_id), result_key("acme", job_id, token, "restored.png")]
        ids.append(job_id)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda key: storage.put(key, b"x" * 2000, "image/png"), keys))
    client.zadd("fm:expiry", dict.fromkeys(ids, 0))
    return keys


def _delete(storage: ObjectStorage, keys: Sequence[str]) -> None:
    parts = [keys[start : start + _AT_ONCE] for start in range(0, len(keys), _AT_ONCE)]
    with ThreadPoolExecutor(_THREADS) as pool:
        list(pool.map(storage.delete, parts))


def _rate(call: Callable[[], object]) -> float:
    start_s = time.perf_counter()
    call()
    return _JOBS / (time.perf_counter() - start_s)
