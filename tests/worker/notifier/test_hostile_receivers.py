"""Receivers that are down, slow, hostile or forgetful: each does harm to nobody but itself."""

from __future__ import annotations

import gzip
import itertools
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from redis import Redis

from shared.jobs.store import JobStore
from shared.net.fetcher import Fetcher
from shared.redis.scripts import Scripts
from shared.settings import Settings
from shared.storage.bucket import ObjectStorage
from shared.tenants.api_keys import KeyRing
from shared.webhooks.outbox import Outbox
from shared.webhooks.schedule import RETRY_SCHEDULE_S
from tests.jobs import end_job, make_due, only_delivery
from tests.origin import Origin, headers, http
from tests.waiting import eventually
from worker.notifier.webhook_delivery import WebhookDelivery

SendDue = Callable[[], None]
BRIEF_S = 0.3
MOST_MEMORY_KB = 5 * 1024


@pytest.fixture
def receiver() -> Iterator[Origin]:
    server = Origin()
    yield server
    server.close()


@pytest.fixture
def send_due(
    store: JobStore, outbox: Outbox, storage: ObjectStorage, redis: Redis, settings: Settings
) -> SendDue:
    """Deliver what is due, once, with little patience."""
    webhook_delivery = WebhookDelivery(
        store=store,
        outbox=outbox,
        storage=storage,
        keys=KeyRing(Scripts(redis), settings.api_key_pepper),
        fetcher=Fetcher(allow_private="all"),
        timeout_s=BRIEF_S,
    )

    def send_due() -> None:
        for delivery in outbox.take(100, 60):
            webhook_delivery.deliver(delivery)

    return send_due


def ids(receiver: Origin) -> set[str]:
    return {headers(request)["webhook-id"] for request in receiver.requests}


def test_a_receiver_that_is_down_is_tried_by_the_schedule_until_it_is_back(
    store: JobStore, outbox: Outbox, redis: Redis, send_due: SendDue, receiver: Origin
) -> None:
    receiver.answers["/hook"] = b""  # takes the connection and says nothing
    job_id = end_job(store, receiver.url("/hook"))
    for wait_s in RETRY_SCHEDULE_S[:3]:
        make_due(redis)
        send_due()
        next_try_at = only_delivery(outbox, job_id)["next_try_at"]
        # ± 20 %, and the minute that a busy machine may take
        assert 0.8 * wait_s - 60 <= next_try_at - time.time() <= 1.2 * wait_s
    receiver.answers["/hook"] = http("200 OK")
    make_due(redis)
    send_due()
    delivery = only_delivery(outbox, job_id)
    assert (delivery["state"], len(delivery["attempts"])) == ("delivered", 4)
    assert ids(receiver) == {delivery["event_id"]}


def test_a_receiver_that_sends_its_answer_too_slowly_is_cut_off(
    store: JobStore, outbox: Outbox, send_due: SendDue, receiver: Origin
) -> None:
    receiver.answers["/hook"] = lambda: itertools.chain([b"HTTP/1.1 200 O"], receiver.drip(b"K"))
    job_id = end_job(store, receiver.url("/hook"))
    send_due()
    delivery = only_delivery(outbox, job_id)
    assert delivery["state"] == "pending"
    assert delivery["attempts"][0]["error"] == "The server did not respond in time"


@pytest.mark.parametrize("status", ["301", "302", "303", "307", "308"])
def test_a_redirect_to_a_private_address_is_not_followed(
    store: JobStore, outbox: Outbox, send_due: SendDue, receiver: Origin, status: str
) -> None:
    inside = Origin()
    inside.answers["/latest/meta-data"] = http("200 OK", b"secret")
    target = inside.url("/latest/meta-data")
    receiver.answers["/hook"] = http(f"{status} Elsewhere", b"", f"Location: {target}")
    job_id = end_job(store, receiver.url("/hook"))
    send_due()
    inside.close()
    assert inside.requests == []
    assert only_delivery(outbox, job_id)["state"] == "pending"


def test_a_receiver_that_answers_429_is_not_tried_before_its_retry_after(
    store: JobStore, outbox: Outbox, redis: Redis, send_due: SendDue, receiver: Origin
) -> None:
    receiver.answers["/hook"] = http("429 Slowly", b"", "Retry-After: 7200")
    job_id = end_job(store, receiver.url("/hook"))
    send_due()
    send_due()
    assert len(receiver.requests) == 1
    assert only_delivery(outbox, job_id)["next_try_at"] >= time.time() + 7000


def test_a_delivery_whose_answer_was_lost_is_sent_again_with_the_same_id(
    store: JobStore, outbox: Outbox, redis: Redis, send_due: SendDue, receiver: Origin
) -> None:
    receiver.answers["/hook"] = b"HTTP/1.1 2"
    job_id = end_job(store, receiver.url("/hook"))
    send_due()
    receiver.answers["/hook"] = http("200 OK")
    make_due(redis)
    send_due()
    assert len(receiver.requests) == 2
    assert ids(receiver) == {only_delivery(outbox, job_id)["event_id"]}


# --- the process ---


@pytest.fixture
def notifier(stack_settings: dict[str, Any]) -> Iterator[subprocess.Popen[bytes]]:
    settings = stack_settings | {"webhook_timeout_s": 2}
    variables = {f"FACEMEND_{name.upper()}": str(value) for name, value in settings.items()}
    command = [sys.executable, "-m", "worker.notifier"]
    with subprocess.Popen(command, env=os.environ | variables) as process:
        yield process
        process.terminate()
        try:
            assert process.wait(30) == 0
        finally:
            process.kill()


def memory_kb(process: subprocess.Popen[bytes], name: str) -> int:
    status = Path(f"/proc/{process.pid}/status").read_text()
    (line,) = (line for line in status.splitlines() if line.startswith(f"{name}:"))
    return int(line.split()[1])


def endless() -> Iterator[bytes]:
    """A gigabyte and more, as long as somebody reads."""
    yield b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n\r\n"
    yield from itertools.repeat(bytes(1_000_000), 1_100)


BOMB = http("200 OK", gzip.compress(bytes(50_000_000)), "Content-Encoding: gzip")


def test_endless_and_highly_compressed_answers_do_not_grow_the_memory(
    store: JobStore, outbox: Outbox, receiver: Origin, notifier: subprocess.Popen[bytes]
) -> None:
    def all_told(path: str) -> None:
        jobs = [end_job(store, receiver.url(path)) for _ in range(20)]
        eventually(lambda: all(only_delivery(outbox, job)["state"] == "delivered" for job in jobs))

    receiver.answers |= {"/well": http("200 OK"), "/endless": endless, "/bomb": BOMB}
    for _ in range(3):
        all_told("/well")
    Path(f"/proc/{notifier.pid}/clear_refs").write_text("5")  # the peak counts from here
    before_kb = memory_kb(notifier, "VmRSS")
    all_told("/endless")
    all_told("/bomb")
    assert memory_kb(notifier, "VmHWM") - before_kb <= MOST_MEMORY_KB


def test_stuck_slow_and_refusing_receivers_do_not_delay_a_healthy_one(
    store: JobStore, outbox: Outbox, receiver: Origin, notifier: subprocess.Popen[bytes]
) -> None:
    free, stuck = threading.Event(), [Origin() for _ in range(8)]

    def answer_when_free() -> Iterator[bytes]:
        free.wait(30)
        yield http("200 OK")

    receiver.answers["/hook"] = http("200 OK")
    for server in stuck:
        server.answers["/hook"] = answer_when_free
        for _ in range(10):
            end_job(store, server.url("/hook"))
    eventually(lambda: all(server.requests for server in stuck))
    healthy = [end_job(store, receiver.url("/hook")) for _ in range(30)]
    eventually(lambda: all(only_delivery(outbox, job)["state"] == "delivered" for job in healthy))
    assert len(ids(receiver)) == len(receiver.requests) == 30
    free.set()
    for server in stuck:
        server.close()
