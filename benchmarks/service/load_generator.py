"""HTTP clients in one process: ``python -m benchmarks.service.load_generator``, JSON in and out.

Without a rate, each client sends its next request as soon as it has a response. With a rate,
requests are due at even intervals, and a response time is measured from the time at which the
request was due, so that a slow response also counts for the requests that wait behind it.
"""

from __future__ import annotations

import http.client
import json
import math
import sys
import time
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from itertools import count
from threading import Lock
from urllib.parse import urlsplit

UNIQUE = "unique-in-each-of-the-requests--"


@dataclass(frozen=True, slots=True)
class Load:
    """What to send. ``rate`` is in requests per second of all clients; None is no limit.

    ``body``: text, or bytes as Latin-1. In each request, another text of the same length takes the
    place of ``UNIQUE`` in it: equal jobs of a tenant would run once.
    """

    url: str
    key: str
    body: str
    seconds: float
    clients: int = 8
    rate: float | None = None
    content_type: str = "application/json"


@dataclass(frozen=True, slots=True)
class LoadResult:
    accepted: int
    refused: int
    rate: float
    p50_ms: float
    p99_ms: float


def run(load: Load) -> LoadResult:
    """Send requests for ``load.seconds``."""
    numbers, lock = count(), Lock()
    start_s = time.perf_counter() + 0.2

    def due_s() -> float:
        with lock:
            return start_s + (next(numbers) / load.rate if load.rate else 0)

    with ThreadPoolExecutor(load.clients) as clients:
        runs = [clients.submit(_client, load, start_s, due_s) for _ in range(load.clients)]
        responses = [each for run in runs for each in run.result()]
    times_s = sorted(seconds for seconds, status in responses if status == _ACCEPTED)
    return LoadResult(
        accepted=len(times_s),
        refused=len(responses) - len(times_s),
        rate=len(times_s) / (time.perf_counter() - start_s),
        p50_ms=1000 * _percentile(times_s, 0.50),
        p99_ms=1000 * _percentile(times_s, 0.99),
    )


_ACCEPTED = 202


def _client(load: Load, start_s: float, due_s: Callable[[], float]) -> list[tuple[float, int]]:
    parts = urlsplit(load.url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=30)
    headers = {"Content-Type": load.content_type, "Authorization": f"Bearer {load.key}"}
    found: list[tuple[float, int]] = []
    while True:
        due = max(due_s(), start_s)
        if due >= start_s + load.seconds or time.perf_counter() >= start_s + load.seconds:
            return found
        time.sleep(max(0.0, due - time.perf_counter()))
        sent_s = due if load.rate else time.perf_counter()
        number = uuid.uuid4().hex
        body = load.body.replace(UNIQUE, number)
        connection.request("POST", parts.path, body, headers | {"Idempotency-Key": number})
        response = connection.getresponse()
        response.read()
        found.append((time.perf_counter() - sent_s, response.status))


def _percentile(ordered: list[float], share: float) -> float:
    return ordered[math.ceil(share * len(ordered)) - 1] if ordered else math.nan


if __name__ == "__main__":
    sys.stdout.write(json.dumps(asdict(run(Load(**json.load(sys.stdin))))))
