"""The client against the real API, with Redis and S3; jobs are done by a thread of the tests."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from facemend import Client
from shared.jobs.job import Job, Status
from shared.jobs.record import Outcome
from shared.jobs.store import JobStore
from shared.redis.scripts import Scripts
from shared.settings import Settings
from shared.storage.bucket import ObjectStorage
from shared.storage.keys import result_key
from shared.tenants.api_keys import ALL_SCOPES, KeyRing
from tests.api.serving import Server, serve
from tests.chaos.proxy import Proxy

TENANT = "acme"
PICTURE = b"a restored picture"


@pytest.fixture(scope="session")
def api(
    stack_settings: dict[str, Any], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    with serve(stack_settings, tmp_path_factory.mktemp("api") / "log") as server:
        yield server


@pytest.fixture
def api_key(scripts: Scripts, settings: Settings) -> str:
    return KeyRing(scripts, settings.api_key_pepper).create(TENANT, "client", ALL_SCOPES)[1]


@pytest.fixture
def client(api: Server, api_key: str) -> Iterator[Client]:
    with Client(api.url, api_key, patience_s=20) as client:
        yield client


@pytest.fixture
def proxy(api: Server) -> Iterator[Proxy]:
    """A network between the client and the API."""
    proxy = Proxy(api.port)
    yield proxy
    proxy.close()


@pytest.fixture
def seaweed_url(stack_settings: dict[str, Any]) -> str:
    return str(stack_settings["s3_endpoint_url"])


@dataclass
class Worker:
    """Does the work of a worker, one step at a time or in a thread."""

    store: JobStore
    storage: ObjectStorage

    def begin(self) -> tuple[Job, str] | None:
        """Claim the next job; return it with its token."""
        queued, _ = self.store.page(TENANT, status=Status.QUEUED, model=None, limit=1, cursor=None)
        claim = self.store.runs.claim(queued[0].id, "worker-1") if queued else None
        return None if claim is None else (claim.job, claim.token)

    def succeed(self, job: Job, token: str, picture: bytes = PICTURE) -> None:
        key = result_key(job.tenant, job.id, token, "restored.png")
        self.storage.put(key, picture, "image/png")
        kind = job.request.get("output", {}).get("format", "same")
        image = {
            "key": key,
            "width": 4,
            "height": 3,
            "format": "jpeg" if kind == "same" else kind,
            "bytes": len(picture),
            "sha256": hashlib.sha256(picture).hexdigest(),
        }
        model = {"name": "m", "sha256": "1" * 64, "precision": "fp32", "backend": "torch"}
        face = {
            "index": 0,
            "box": [1.0, 2.0, 30.0, 40.0],
            "landmarks": [[1.0, 2.0]] * 5,
            "score": 0.99,
            "status": "restored",
            "reason": None,
            "crop": None,
        }
        result = {"image": image, "comparison": None, "faces": [face], "model": model}
        assert self.store.runs.finish(job.id, token, Outcome(Status.SUCCEEDED, result=result))

    def find_a_face(self, detection_id: str) -> None:
        claim = self.store.runs.claim(detection_id, "worker-1")
        assert claim is not None
        key = result_key(TENANT, detection_id, claim.token, "face-0.jpeg")
        self.storage.put(key, PICTURE, "image/jpeg")
        face = {
            "index": 0,
            "box": [1.0, 2.0, 30.0, 40.0],
            "landmarks": [[1.0, 2.0]] * 5,
            "score": 0.99,
            "sharpness": 0.2,
            "sharp": False,
            "size": 29.0,
            "preview": {"key": key, "width": 4, "height": 3},
        }
        photo = {"width": 60, "height": 50, **claim.job.request["input"]}
        result = {"photo": photo, "faces": [face], "detector": "retinaface"}
        outcome = Outcome(Status.SUCCEEDED, result=result)
        assert self.store.runs.finish(detection_id, claim.token, outcome)

    def fail(self, job: Job, token: str, error: dict[str, Any]) -> None:
        assert self.store.runs.finish(job.id, token, Outcome(Status.FAILED, error=error))

    def next(self) -> tuple[Job, str]:
        """Wait for a job and claim it."""
        while (begun := self.begin()) is None:
            threading.Event().wait(0.02)
        return begun


@pytest.fixture
def worker(store: JobStore, storage: ObjectStorage) -> Worker:
    return Worker(store, storage)


@pytest.fixture
def working(worker: Worker) -> Iterator[Worker]:
    """A worker that does every job at once."""
    stop = threading.Event()

    def work() -> None:
        while not stop.wait(0.02):
            while begun := worker.begin():
                worker.succeed(*begun)

    thread = threading.Thread(target=work)
    thread.start()
    yield worker
    stop.set()
    thread.join()


@pytest.fixture
def jobs(store: JobStore) -> Callable[[], list[Job]]:
    """All jobs of the tenant."""

    def jobs() -> list[Job]:
        return store.page(TENANT, status=None, model=None, limit=100, cursor=None)[0]

    return jobs


@pytest.fixture
def photo(grace_hopper: Path) -> Path:
    return grace_hopper
