"""A worker dies in the middle of a job: the job is done all the same, and told of once."""

from __future__ import annotations

import io
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image
from redis import Redis
from standardwebhooks.webhooks import Webhook

from deploy.embedded.child_process import Child
from deploy.embedded.stack import Stack
from deploy.embedded.webhook_receiver import Receiver

pytestmark = pytest.mark.e2e
Job = dict[str, Any]
_RECOVERY_S = 30.0
_PASTE_MARGIN = 1.0  # of the face's box, to each side


@pytest.fixture
def second_worker(stack: Stack, tmp_path: Path) -> Iterator[Child]:
    argv = [sys.executable, "-m", "worker.app"]
    with Child("worker", argv, folder=tmp_path, env=stack.environment(), cwd=tmp_path) as child:
        child.wait_until(lambda: "ready:" in child.log_tail(50), timeout_s=90)
        yield child


@pytest.fixture
def revive(stack: Stack) -> Iterator[None]:
    """Whichever worker dies, the tests after this one find one of the stack's own."""
    yield
    if not stack.parts["worker"].running:
        stack.start_part("worker")


@pytest.mark.usefixtures("revive")
def test_a_job_outlives_the_worker_that_is_killed_in_its_middle(
    stack: Stack,
    second_worker: Child,
    client: httpx.Client,
    crowd: bytes,
    finish: Callable[..., Job],
) -> None:
    with Receiver() as receiver:
        job = _submit(client, crowd, receiver.url)
        _kill_its_worker_when_faces_are_being_restored(stack, second_worker, client, job)
        done = finish(job["id"], _RECOVERY_S)
        assert done["status"] == "succeeded", done["error"]
        assert done["attempt"] == 2
        event = receiver.wait(10)
        assert event is not None
        assert receiver.wait(3) is None, "one event, not two"
    body = Webhook(stack.webhook_secret).verify(event.body, event.headers)
    assert body["type"] == "restoration.succeeded"
    assert body["data"]["id"] == job["id"]
    _assert_only_faces_differ(crowd, _download(done), done["result"]["faces"])


def _submit(client: httpx.Client, photo: bytes, webhook_url: str) -> Job:
    request = f'{{"output": {{"format": "png"}}, "webhook": {{"url": "{webhook_url}"}}}}'
    answer = client.post(
        "/v1/restorations",
        files={
            "image": ("crowd.png", photo, "image/png"),
            "request": (None, request, "application/json"),
        },
    )
    assert answer.status_code == 202, answer.text
    job: Job = answer.json()
    return job


def _kill_its_worker_when_faces_are_being_restored(
    stack: Stack, second_worker: Child, client: httpx.Client, job: Job
) -> None:
    redis = Redis.from_url(stack.redis.url, decode_responses=True)
    give_up = time.monotonic() + 60
    while time.monotonic() < give_up:
        job = client.get(f"/v1/restorations/{job['id']}").json()
        if job["progress"] and job["progress"]["stage"] == "restoring":
            break
        time.sleep(0.01)
    assert job["status"] == "running"
    pid = int(str(redis.hget(f"fm:job:{job['id']}", "worker")).rsplit("-", 1)[1])
    redis.close()
    assert pid in {stack.parts["worker"].pid, second_worker.pid}
    os.kill(pid, signal.SIGKILL)


def _download(job: Job) -> bytes:
    answer = httpx.get(job["result"]["image"]["url"], trust_env=False)
    answer.raise_for_status()
    return answer.content


def _assert_only_faces_differ(before: bytes, after: bytes, faces: list[dict[str, Any]]) -> None:
    one, other = (
        np.asarray(Image.open(io.BytesIO(data)).convert("RGB")) for data in (before, after)
    )
    assert one.shape == other.shape
    differs = (one != other).any(axis=2)
    assert [face["status"] for face in faces] == ["restored"] * 20
    allowed = np.zeros_like(differs)
    for face in faces:
        left, top, right, bottom = face["box"]
        x, y = _PASTE_MARGIN * (right - left), _PASTE_MARGIN * (bottom - top)
        rows = slice(max(0, int(top - y)), int(bottom + y) + 1)
        columns = slice(max(0, int(left - x)), int(right + x) + 1)
        assert differs[int(top) : int(bottom), int(left) : int(right)].any(), "face unchanged"
        allowed[rows, columns] = True
    assert not (differs & ~allowed).any()
