"""The whole service, started once: Valkey, SeaweedFS, API, worker, notifier."""

from __future__ import annotations

import io
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image

from deploy.embedded.stack import Stack
from tests.otlp_collector import OtlpCollector

Job = dict[str, Any]
TERMINAL = {"succeeded", "failed", "canceled"}


@pytest.fixture(scope="session")
def collector() -> Iterator[OtlpCollector]:
    """Gets the traces of the whole service."""
    with OtlpCollector().running() as running:
        yield running


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory, collector: OtlpCollector) -> Iterator[Stack]:
    # The servers of the tests listen on any port. Many tests send the same photo, and look at runs.
    environ = {
        **os.environ,
        "FACEMEND_ALLOW_PRIVATE_ADDRESSES": "all",
        "FACEMEND_RESULT_CACHE": "false",
        "FACEMEND_OTLP_ENDPOINT": collector.url,
    }
    stack = Stack(tmp_path_factory.mktemp("stack"), environ=environ)
    stack.start()
    yield stack
    stack.stop()


@pytest.fixture
def client(stack: Stack) -> Iterator[httpx.Client]:
    headers = {"Authorization": f"Bearer {stack.api_key}"}
    with httpx.Client(base_url=stack.url, headers=headers, timeout=60, trust_env=False) as client:
        yield client


@pytest.fixture
def finish(client: httpx.Client) -> Callable[..., Job]:
    """Wait for a job's end."""

    def finish(job_id: str, timeout_s: float = 60) -> Job:
        give_up = time.monotonic() + timeout_s
        while True:
            job: Job = client.get(f"/v1/restorations/{job_id}", params={"wait": 5}).json()
            if job["status"] in TERMINAL:
                return job
            assert time.monotonic() < give_up, f"still {job['status']} after {timeout_s} s"

    return finish


@pytest.fixture(scope="session")
def crowd(astronaut: Path) -> bytes:
    """A PNG with 20 faces: enough work for a worker to be killed in the middle of."""
    with Image.open(astronaut) as photo:
        one = photo.convert("RGB").resize((256, 256), Image.Resampling.LANCZOS)
    file = io.BytesIO()
    Image.fromarray(np.tile(np.asarray(one), (4, 5, 1))).save(file, "PNG")
    return file.getvalue()
