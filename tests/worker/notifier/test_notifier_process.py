from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr
from redis import Redis

from deploy.embedded.valkey import Valkey
from shared.jobs.store import JobStore
from shared.redis.client import connect
from shared.redis.scripts import Scripts
from shared.settings import Settings
from shared.tenants.api_keys import KeyRing
from shared.webhooks.outbox import Outbox
from tests.jobs import TENANT, end_job, only_delivery
from tests.origin import Origin, headers, http
from tests.waiting import eventually
from worker.notifier.notifier import build


def start(stack_settings: dict[str, Any], **more: str) -> subprocess.Popen[bytes]:
    variables = {f"FACEMEND_{name.upper()}": str(value) for name, value in stack_settings.items()}
    return subprocess.Popen(
        [sys.executable, "-m", "worker.notifier"],
        env=os.environ | variables | more,
        stderr=subprocess.PIPE,
    )


def test_the_process_delivers_and_ends_with_code_0_after_sigterm(
    store: JobStore, outbox: Outbox, redis: Redis, stack_settings: dict[str, Any], receiver: Origin
) -> None:
    job_id = end_job(store, receiver.url("/hook"))
    with start(stack_settings) as process:
        eventually(lambda: only_delivery(outbox, job_id)["state"] == "delivered")
        process.send_signal(signal.SIGTERM)
        _, logged = process.communicate(timeout=20)
    assert process.returncode == 0
    assert b" error:" not in logged
    (secret,) = KeyRing(Scripts(redis), SecretStr("pepper")).webhook_secrets(TENANT)
    assert secret.encode() not in logged


def test_a_stopping_process_waits_for_the_webhook_that_is_being_sent(
    store: JobStore, outbox: Outbox, stack_settings: dict[str, Any], receiver: Origin
) -> None:
    free = threading.Event()

    def answer_when_free() -> Iterator[bytes]:
        free.wait(10)
        yield http("200 OK")

    receiver.answers["/hook"] = answer_when_free
    job_id = end_job(store, receiver.url("/hook"))
    with start(stack_settings) as process:
        eventually(lambda: receiver.requests)
        process.send_signal(signal.SIGTERM)
        time.sleep(0.2)
        assert process.poll() is None
        free.set()
        process.communicate(timeout=20)
    assert process.returncode == 0
    assert only_delivery(outbox, job_id)["state"] == "delivered"


def test_an_event_is_sent_again_if_the_notifier_was_killed_before_it_recorded_the_attempt(
    store: JobStore,
    outbox: Outbox,
    stack_settings: dict[str, Any],
    settings: Settings,
    receiver: Origin,
) -> None:
    processes: list[subprocess.Popen[bytes]] = []

    def kill_the_sender() -> Iterator[bytes]:
        processes[0].kill()
        processes[0].wait()
        yield http("200 OK")

    receiver.answers["/hook"] = kill_the_sender
    job_id = end_job(store, receiver.url("/hook"))
    with start(stack_settings, FACEMEND_WEBHOOK_TIMEOUT_S="0.5") as process:
        processes.append(process)
        eventually(lambda: receiver.requests)
        process.communicate(timeout=20)
    assert only_delivery(outbox, job_id)["attempts"] == []

    receiver.answers["/hook"] = http("200 OK")

    notifier = build(settings)

    def sent_again() -> bool:
        notifier.tick_deliveries()  # nothing, until the dead notifier's lease is over
        return only_delivery(outbox, job_id)["state"] == "delivered"

    eventually(sent_again)
    notifier.close()
    first, second = (headers(request)["webhook-id"] for request in receiver.requests)
    assert first == second == only_delivery(outbox, job_id)["event_id"]


def test_the_notifier_continues_when_redis_comes_back(
    tmp_path: Path, settings: Settings, receiver: Origin
) -> None:
    with Valkey(tmp_path / "valkey") as own:
        stop = threading.Event()
        here = settings.model_copy(update={"redis_url": SecretStr(own.url)})
        running = threading.Thread(target=build(here).run, args=[stop])
        running.start()
        own.kill()
        time.sleep(1.2)  # every duty meets the outage
        own.start()
        scripts = Scripts(connect(here))
        store, outbox = JobStore(scripts, here), Outbox(scripts)
        job_id = end_job(store, receiver.url("/hook"))
        eventually(lambda: only_delivery(outbox, job_id)["state"] == "delivered")
        stop.set()
        running.join()


@pytest.mark.parametrize(
    ("name", "value"),
    [("FACEMEND_API_KEY_PEPPER", ""), ("FACEMEND_WEBHOOK_TIMEOUT_S", "soon")],
)
def test_a_wrong_setting_ends_the_process_with_its_name(
    stack_settings: dict[str, Any], name: str, value: str
) -> None:
    with start(stack_settings, **{name: value}) as process:
        _, reported = process.communicate(timeout=20)
    assert process.returncode == 2
    assert reported.startswith(b"notifier cannot start: " + name.encode())
    assert b"Traceback" not in reported


def test_the_notifier_refuses_a_redis_that_evicts_keys(
    tmp_path: Path, stack_settings: dict[str, Any]
) -> None:
    with Valkey(tmp_path / "valkey") as own:
        client = Redis.from_url(own.admin_url)
        client.config_set("maxmemory", "100mb")
        client.config_set("maxmemory-policy", "allkeys-lru")
        client.close()
        with start(stack_settings | {"redis_url": own.url}) as process:
            _, reported = process.communicate(timeout=20)
    assert process.returncode == 2
    assert b"noeviction" in reported


def test_rebuild_imports_nothing_of_the_engine() -> None:
    heavy = "{'torch', 'numpy', 'cv2', 'PIL', 'flask'}"
    script = f"import sys, worker.notifier.notifier; print(sorted({heavy} & sys.modules.keys()))"
    out = subprocess.check_output([sys.executable, "-c", script], text=True)
    assert out.strip() == "[]"
