"""How many jobs are taken a second, and how soon each is answered."""

from __future__ import annotations

import json
import os
import secrets
import statistics
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

from benchmarks.report import Report
from benchmarks.service.caller import Answers, Load
from deploy.embedded.child_process import Child, free_port
from deploy.embedded.seaweedfs import SeaweedFS
from deploy.embedded.valkey import Valkey
from shared.redis.client import connect
from shared.settings import Settings
from shared.tenants.api_keys import KeyRing

_ROOT = Path(__file__).parents[2]
_BODY = json.dumps({"input": {"url": "http://127.0.0.1:9/photo.jpg"}})
_MIN_SHARE, _MAX_P99_MS = 0.5, 50.0
_SECONDS = 8.0
_MANY = 1_000_000_000


def measure_submitting(report: Report, folder: Path, repetitions: int) -> None:
    """Both services in turns, one process and as many threads each, on one machine."""
    with _service(folder) as (ours, key), _naive(folder) as naive:
        rates: dict[str, list[float]] = {"naive": [], "facemend": []}
        for url, token in ((naive, ""), (ours, key)):
            _call(Load(url, token, _BODY, seconds=2))
        for _ in range(repetitions):
            rates["naive"].append(_call(Load(naive, "", _BODY, _SECONDS)).rate)
            rates["facemend"].append(_call(Load(ours, key, _BODY, _SECONDS)).rate)
        medians = {name: statistics.median(each) for name, each in rates.items()}
        half = {
            "naive": _call(Load(naive, "", _BODY, _SECONDS, rate=medians["naive"] / 2)),
            "facemend": _call(Load(ours, key, _BODY, _SECONDS, rate=medians["facemend"] / 2)),
        }
    report.section(
        "Submitting",
        f"Jobs a second from 8 clients, median of {repetitions} rounds in turns of {_SECONDS:g} s; "
        "times of answers at half of that rate. Ours: keys, rate limit, Idempotency-Key, checks, "
        "manifest in S3, record, doorbell. The peer: Flask and delay().",
    )
    report.table(
        "submitting",
        ("service", "jobs/s", "p50 ms at half", "p99 ms at half"),
        [(name, medians[name], half[name].p50_ms, half[name].p99_ms) for name in rates],
    )
    share = medians["facemend"] / medians["naive"]
    report.bar("jobs a second against the peer", share, ">=", _MIN_SHARE, "x")
    report.bar("p99 at half load", half["facemend"].p99_ms, "<=", _MAX_P99_MS, " ms")


def _call(load: Load) -> Answers:
    argv = [sys.executable, "-m", "benchmarks.service.caller"]
    done = subprocess.run(  # noqa: S603 - ours
        argv, input=json.dumps(asdict(load)), check=True, stdout=subprocess.PIPE, text=True
    )
    answers = Answers(**json.loads(done.stdout))
    if answers.refused:
        raise SystemExit(f"{load.url} refused {answers.refused} requests: this is no measurement")
    return answers


@contextmanager
def _service(folder: Path) -> Iterator[tuple[str, str]]:
    """The address of our API and a key; nobody takes the jobs."""
    with Valkey(folder / "redis") as valkey, SeaweedFS(folder / "s3") as seaweed:
        bind = f"127.0.0.1:{free_port()}"
        values = {
            "redis_url": valkey.url,
            "s3_endpoint_url": seaweed.endpoint_url,
            "s3_bucket": seaweed.bucket,
            "s3_access_key_id": seaweed.access_key_id,
            "s3_secret_access_key": seaweed.secret_access_key,
            "api_key_pepper": secrets.token_urlsafe(24),
            "api_bind": bind,
            "allow_private_addresses": "true",
            "max_queued_per_tenant": str(_MANY),
            "rate_limit": str(_MANY),
        }
        settings = Settings(_env_file=None, **values)  # type: ignore[arg-type] # pydantic converts
        keys = KeyRing(connect(settings), settings.api_key_pepper)
        _, token = keys.create("acme", "bench")
        config = str(_ROOT / "deploy/docker/gunicorn.conf.py")
        env = {f"FACEMEND_{name.upper()}": value for name, value in values.items()}
        argv = ["gunicorn", "--config", config, "api.wsgi:app"]
        with _served(folder / "api", argv, env, f"http://{bind}/healthz"):
            yield f"http://{bind}/v1/restorations", token


@contextmanager
def _naive(folder: Path) -> Iterator[str]:
    with Valkey(folder / "naive-redis") as valkey:
        bind = f"127.0.0.1:{free_port()}"
        threads = str(Settings.model_fields["api_threads"].default)
        argv = ["gunicorn", "--bind", bind, "--threads", threads, "benchmarks.service.naive:app"]
        with _served(folder / "naive", argv, {"NAIVE_REDIS_URL": valkey.url}, f"http://{bind}/"):
            yield f"http://{bind}/v1/restorations"


@contextmanager
def _served(folder: Path, argv: list[str], env: dict[str, str], url: str) -> Iterator[None]:
    folder.mkdir()
    env = {**os.environ, "PYTHONPATH": str(_ROOT), **env}
    child = Child(folder.name, [sys.executable, "-m", *argv], folder=folder, env=env, cwd=folder)
    child.start()
    try:
        child.wait_until(lambda: _answers(url), timeout_s=60)
        yield
    finally:
        child.stop()


def _answers(url: str) -> bool:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        opener.open(url, timeout=2).close()
    except urllib.error.HTTPError:
        return True
    except OSError:
        time.sleep(0.05)
        return False
    return True
