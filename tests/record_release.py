"""``python -m tests.record_release``: what processes of the previous release leave in Redis and S3.

One job has succeeded, one has a webhook that is to be repeated, one is canceled. One runs, and its
worker is killed. Two wait, and their messages are in the queue.
"""

from __future__ import annotations

import base64
import json
import socket
import tempfile
import time
from pathlib import Path
from typing import Any

from redis import Redis

from shared.jobs.job import Status
from tests.chaos.customer import ALL_EVENTS, Customer
from tests.chaos.receiver import Receiver
from tests.chaos.service import Part, Service, eventually
from tests.releases import API, PREVIOUS, RECORDING, unpack_previous

_PEPPER = "pepper-of-the-recording"
_KEPT_S = 2_592_000


def main() -> None:
    """Write the recording."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        previous = unpack_previous(folder / "previous")
        settings = {
            "allow_private_addresses": "true",
            "api_key_pepper": _PEPPER,
            "jobs_in_flight": 1,
            "result_ttl_s": _KEPT_S,
            "input_ttl_s": _KEPT_S,
        }
        with Service(folder / "service", settings=settings) as service, Receiver() as receiver:
            api, worker, notifier = (
                start(service, previous, kind) for kind in ("api", "worker", "notifier")
            )
            customer = Customer(service, api.url, receiver.url())
            jobs = _use(customer, receiver)
            for part in (worker, notifier, api):
                part.kill()
            recording = {
                "release": PREVIOUS,
                "recorded_at": time.time(),
                "pepper": _PEPPER,
                "api_key": customer.secret,
                "receiver": receiver.url("").removeprefix("http://"),
                "jobs": jobs,
                "redis": _redis(service.redis),
                "s3": _s3(service),
            }
    text = json.dumps(recording, indent=1) + "\n"
    RECORDING.write_text(text.replace(socket.gethostname(), "recorder"))


def start(service: Service, previous: Path, kind: str) -> Part:
    """Start a process of the previous release, and wait until it is ready."""
    module = [each.format(folder=previous) for each in API] if kind == "api" else None
    part = service.launch(kind, module=module, PYTHONPATH=previous)
    service.wait_ready(part)
    return part


def _use(customer: Customer, receiver: Receiver) -> dict[str, dict[str, Any]]:
    """Submit jobs, and return their ids and photos by what becomes of them."""
    orders = {"succeeded": customer.order()}
    jobs = {"succeeded": customer.submit(orders["succeeded"])}
    orders["refused"] = customer.order()
    webhook = {"url": receiver.url("/down"), "events": ALL_EVENTS}
    jobs["refused"] = customer.submit(orders["refused"], webhook=webhook)
    assert eventually(lambda: len(receiver.by_job()) == 2, 60)
    orders["running"] = customer.order(seconds=5.0)
    jobs["running"] = customer.submit(orders["running"])
    assert customer.wait_for(jobs["running"], Status.RUNNING, 60)
    for name in ("waiting", "waiting too", "canceled"):
        orders[name] = customer.order()
        jobs[name] = customer.submit(orders[name])
    customer.send("POST", f"/v1/restorations/{jobs['canceled']}/cancel")
    return {
        name: {"id": jobs[name], "serial": order.serial, "seconds": order.seconds}
        for name, order in orders.items()
    }


def _redis(redis: Redis) -> list[dict[str, Any]]:
    """Return every key with its type, its value and its time to live in ms."""
    client: Any = redis
    read = {
        "hash": client.hgetall,
        "string": client.get,
        "list": lambda key: client.lrange(key, 0, -1),
        "set": lambda key: sorted(client.smembers(key)),
        "zset": lambda key: client.zrange(key, 0, -1, withscores=True),
    }
    found = []
    for key in sorted(client.scan_iter()):
        kind = client.type(key)
        found.append({"key": key, "type": kind, "value": read[kind](key), "ttl": client.pttl(key)})
    return found


def _s3(service: Service) -> list[dict[str, str]]:
    found = []
    for stored in service.storage.list(""):
        data = service.storage.get(stored.key, max_bytes=10_000_000)
        found.append({"key": stored.key, "data": base64.b64encode(data).decode()})
    return sorted(found, key=lambda each: each["key"])


if __name__ == "__main__":
    main()
