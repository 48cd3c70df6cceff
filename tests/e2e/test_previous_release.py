"""What the release before this one left in Redis and S3 is read, and its jobs go on.

The recording is a file, so the test needs no history of the repository. Row F29 of the fault tests
runs the processes of both releases.
"""

from __future__ import annotations

import base64
import json
import re
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from redis import Redis

from tests.chaos.photos import Act, Order, is_result
from tests.chaos.receiver import Receiver
from tests.chaos.service import Service
from tests.releases import RECORDING
from tests.waiting import eventually

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]
_TIME_S, _TIME_MS = re.compile(r"(?<![\w.])\d{10}(?:\.\d+)?(?![\w.])"), re.compile(r"\d{13}\.\d")


class Recording:
    """The recording, moved to now and to another address of the receiver of webhooks."""

    def __init__(self, receiver: str) -> None:
        text = RECORDING.read_text()
        recorded = json.loads(text)
        late_s = time.time() - recorded["recorded_at"]
        text = _TIME_S.sub(lambda found: repr(float(found[0]) + late_s), text)
        text = _TIME_MS.sub(lambda found: repr(float(found[0]) + 1000 * late_s), text)
        self.content = json.loads(text.replace(recorded["receiver"], receiver))

    def write(self, service: Service) -> None:
        """Put everything back into Redis and S3."""
        for entry in self.content["redis"]:
            _put(service.redis, entry["key"], entry["type"], entry["value"], entry["ttl"])
        for stored in self.content["s3"]:
            data = base64.b64decode(stored["data"])
            service.storage.put(stored["key"], data, "application/octet-stream")

    def job(self, name: str) -> str:
        return str(self.content["jobs"][name]["id"])

    def order(self, name: str) -> Order:
        job = self.content["jobs"][name]
        return Order(job["serial"], Act.SLEEP, job["seconds"])


def _put(redis: Redis, key: str, kind: str, value: Any, ttl_ms: int) -> None:
    match kind:
        case "hash":
            redis.hset(key, mapping=value)
        case "string":
            redis.set(key, value)
        case "list":
            redis.rpush(key, *value)
        case "set":
            redis.sadd(key, *value)
        case "zset":
            redis.zadd(key, dict(value))
    if ttl_ms > 0:
        redis.pexpire(key, ttl_ms)


@pytest.fixture(scope="module")
def receiver() -> Iterator[Receiver]:
    with Receiver() as receiver:
        receiver.good.set()
        yield receiver


@pytest.fixture(scope="module")
def recording(receiver: Receiver) -> Recording:
    return Recording(receiver.url("").removeprefix("http://"))


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory, recording: Recording) -> Iterator[httpx.Client]:
    """The API of this release, with a worker and a notifier, over what was recorded."""
    settings = {"api_key_pepper": recording.content["pepper"]}
    folder = tmp_path_factory.mktemp("previous") / "service"
    with Service(folder, settings=settings) as service:
        recording.write(service)
        parts = [service.launch(kind) for kind in ("api", "worker", "notifier")]
        for part in parts:
            service.wait_ready(part, 120)
        headers = {"Authorization": f"Bearer {recording.content['api_key']}"}
        with httpx.Client(
            base_url=parts[0].url, headers=headers, timeout=60, trust_env=False
        ) as client:
            yield client


def finished(api: httpx.Client, job_id: str) -> Any:
    """Wait until the job has ended, and return it."""
    ended = {"succeeded", "failed", "canceled"}
    eventually(lambda: api.get(f"/v1/restorations/{job_id}").json()["status"] in ended, 90)
    return api.get(f"/v1/restorations/{job_id}").json()


def test_all_jobs_are_listed(api: httpx.Client, recording: Recording) -> None:
    listed = api.get("/v1/restorations").json()["data"]
    assert {job["id"] for job in listed} == {
        job["id"] for job in recording.content["jobs"].values()
    }


@pytest.mark.parametrize("name", ["succeeded", "waiting", "waiting too", "running"])
def test_a_job_has_its_result(api: httpx.Client, recording: Recording, name: str) -> None:
    job = finished(api, recording.job(name))
    assert job["status"] == "succeeded", job
    assert job["attempt"] == (2 if name == "running" else 1)
    picture = httpx.get(job["result"]["image"]["url"], trust_env=False).content
    assert is_result(picture, recording.order(name))


def test_a_canceled_job_stays_canceled(api: httpx.Client, recording: Recording) -> None:
    assert finished(api, recording.job("canceled"))["status"] == "canceled"


@pytest.mark.usefixtures("api")
def test_a_refused_webhook_is_repeated_with_the_same_event(
    recording: Recording, receiver: Receiver
) -> None:
    job_id = recording.job("refused")
    eventually(lambda: receiver.by_job()[job_id], 60)
    deliveries = [entry for entry in recording.content["redis"] if entry["type"] == "hash"]
    (recorded,) = [entry["value"] for entry in deliveries if entry["value"].get("job_id") == job_id]
    assert receiver.by_job()[job_id][0].event_id == recorded["event_id"]


def test_a_job_can_be_erased_with_its_objects(api: httpx.Client, recording: Recording) -> None:
    job_id = recording.job("succeeded")
    url = finished(api, job_id)["result"]["image"]["url"]
    assert api.delete(f"/v1/restorations/{job_id}").status_code == 204
    assert api.get(f"/v1/restorations/{job_id}").status_code == 404
    assert httpx.get(url, trust_env=False).status_code == 404
