"""Redis and S3 slow, silent or gone: a problem with Retry-After, within three seconds in all."""

from __future__ import annotations

import io
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import urlsplit

import pytest
from pydantic import SecretStr
from werkzeug.test import TestResponse

from api import Services, create_app
from shared.jobs.store import JobStore
from shared.settings import Settings
from tests.api.conftest import Authorised
from tests.chaos.proxy import Proxy, Weather

BITES_S = 3.0  # the fault matrix, row F11
BAD = {
    "black hole": Weather(black_hole=True),
    "slow": Weather(latency_s=2.0),
    "reset": Weather(reset=True),
    "trickle": Weather(bandwidth_bytes_s=20),
}


class World:
    """An API whose ways to Redis and S3 lead through the weather."""

    def __init__(self, settings: Settings) -> None:
        redis, s3 = settings.redis_url.get_secret_value(), settings.s3_endpoint_url or ""
        redis_port, s3_port = urlsplit(redis).port or 0, urlsplit(s3).port or 0
        self.redis, self.s3 = Proxy(redis_port), Proxy(s3_port)
        self.settings = settings.model_copy(
            update={
                "redis_url": SecretStr(redis.replace(f":{redis_port}", f":{self.redis.port}")),
                "s3_endpoint_url": s3.replace(f":{s3_port}", f":{self.s3.port}"),
            }
        )
        self.services = Services.connect(self.settings)
        self.app = create_app(self.services)

    def client(self, token: str) -> Authorised:
        return Authorised(self.app.test_client(), token)

    def close(self) -> None:
        self.redis.close()
        self.s3.close()


@pytest.fixture
def world(settings: Settings, redis: Any, storage: Any) -> Iterator[World]:
    made = World(settings)
    yield made
    made.close()


@pytest.fixture
def token(services: Services) -> str:
    return services.keys.create("acme", "shop")[1]


def timed(call: Callable[[], TestResponse]) -> tuple[TestResponse, float]:
    began = time.monotonic()
    answer = call()
    return answer, time.monotonic() - began


def refused(answer: TestResponse) -> None:
    assert (answer.status_code, answer.mimetype) == (503, "application/problem+json")
    assert answer.get_json()["code"] == "unavailable"
    assert int(answer.headers["Retry-After"]) >= 1
    assert "127.0.0.1" not in answer.get_data(as_text=True)


@pytest.mark.parametrize("warm", [True, False], ids=["open connections", "new connections"])
@pytest.mark.parametrize("weather", ["black hole", "slow", "reset"])
def test_a_bad_redis_is_a_problem_in_time(
    world: World, token: str, submit: Any, weather: str, warm: bool
) -> None:
    client = world.client(token)
    if warm:
        assert submit(client).status_code == 202
    with world.redis.bad(BAD[weather]):
        for call in (lambda: submit(client), lambda: client.get("/v1/restorations")):
            answer, took_s = timed(call)
            refused(answer)
            assert took_s < BITES_S
    time.sleep(1.1)  # what is known to be silent is tried again every second
    assert submit(client).status_code == 202


def test_a_redis_that_is_a_little_slow_at_each_step_is_cut_off_in_the_sum(
    world: World, token: str, submit: Any
) -> None:
    client = world.client(token)
    submit(client)
    with world.redis.bad(Weather(latency_s=1.0)):
        answer, took_s = timed(lambda: submit(client, {"metadata": {"a": "b"}}))
    refused(answer)
    assert took_s < BITES_S


@pytest.mark.parametrize("weather", BAD)
def test_a_bad_storage_is_a_problem_in_time(
    world: World, token: str, submit: Any, store: JobStore, weather: str
) -> None:
    client = world.client(token)
    with world.s3.bad(BAD[weather]):
        answer, took_s = timed(lambda: submit(client, headers={"Idempotency-Key": "one"}))
        refused(answer)
        assert took_s < BITES_S
        assert client.get("/v1/restorations").get_json()["data"] == []  # needs no storage
    assert submit(client, headers={"Idempotency-Key": "one"}).status_code == 202
    assert len(store.list("acme")[0]) == 1


def test_readiness_names_the_part_in_time(world: World) -> None:
    client = world.app.test_client()
    hole = BAD["black hole"]
    with world.redis.bad(hole):
        answer, took_s = timed(lambda: client.get("/readyz"))
        assert answer.get_json()["parts"] == {"redis": "unreachable", "s3": "ok"}
        assert took_s < BITES_S
        with world.s3.bad(hole):
            answer, took_s = timed(lambda: client.get("/readyz"))
            assert answer.get_json()["parts"] == {"redis": "unreachable", "s3": "unreachable"}
            assert took_s < BITES_S


def test_many_who_wait_for_a_silent_redis_do_not_wait_one_after_the_other(
    world: World, token: str
) -> None:
    """As behind 4 threads: without a fuse the last of 24 would come after 15 seconds."""
    clients = [world.client(token) for _ in range(4)]
    queue = iter(range(24))
    lock = threading.Lock()

    def serve(client: Authorised) -> list[int]:
        statuses = []
        while True:
            with lock:
                if next(queue, None) is None:
                    return statuses
            statuses.append(client.get("/v1/models").status_code)

    with world.redis.bad(BAD["black hole"]), ThreadPoolExecutor(4) as threads:
        began = time.monotonic()
        statuses = [status for found in threads.map(serve, clients) for status in found]
        assert statuses == [503] * 24
        assert time.monotonic() - began < 2 * BITES_S


def test_a_long_poll_is_patient_and_its_questions_are_not(
    world: World, token: str, submit: Any, succeed: Any
) -> None:
    client = world.client(token)
    job_id = submit(client).get_json()["id"]
    threading.Timer(3.2, succeed, ("acme", job_id)).start()  # longer than a request's patience
    answer = client.get(f"/v1/restorations/{job_id}?wait=20")
    assert answer.get_json()["status"] == "succeeded"


def test_a_bell_that_cannot_ring_does_not_hold_up_the_answer(
    world: World, token: str, photo: bytes, store: JobStore
) -> None:
    client = world.client(token)
    deaf = Proxy(world.redis.port)  # only the bell's own connections go this way
    try:
        url = world.settings.redis_url.get_secret_value()
        far = SecretStr(url.replace(f":{world.redis.port}", f":{deaf.port}"))
        bell = Services.connect(world.settings.model_copy(update={"redis_url": far})).doorbell
        object.__setattr__(world.services, "doorbell", bell)
        with deaf.bad(BAD["black hole"]):
            parts = {"image": (io.BytesIO(photo), "a.jpg", "image/jpeg")}
            answer, took_s = timed(lambda: client.post("/v1/restorations", data=parts))
        assert answer.status_code == 202
        assert took_s < BITES_S
        assert store.get("acme", answer.get_json()["id"]).status == "queued"
    finally:
        deaf.close()
