"""A model is replaced while jobs run: no job fails, and later ones are made by the new file."""

from __future__ import annotations

import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from deploy.embedded.child_process import ChildProcess
from deploy.embedded.stack import Stack
from tests.waiting import eventually
from tests.worker.engine.small_models import save_model
from worker.weights.verification import file_sha256

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(400)]
Job = dict[str, Any]
MODEL = "mine"


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The model ``mine``, and beside it another file that can take its place."""
    folder = tmp_path_factory.mktemp("models")
    save_model(folder, MODEL, unchanging=True)
    save_model(folder, "new", unchanging=True, note="another file")
    return folder


@pytest.fixture(scope="module")
def environment(stack: Stack, models: Path) -> dict[str, str]:
    """That of the stack, for the model ``mine``, with the result cache."""
    ours = {
        "FACEMEND_MODELS_DIR": str(models),
        "FACEMEND_SERVED_MODELS": MODEL,
        "FACEMEND_MODEL_WATCH_S": "0.5",
        "FACEMEND_RESULT_CACHE": "true",
        "FACEMEND_PRECISION": "fp32",
    }
    return {**stack.environment(), **ours}


@pytest.fixture(scope="module")
def worker(
    environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ChildProcess]:
    folder = tmp_path_factory.mktemp("worker")
    argv = [sys.executable, "-m", "worker.app"]
    with ChildProcess("worker", argv, folder=folder, env=environment, cwd=folder) as child:
        child.wait_until(lambda: f"ready: {MODEL}" in child.log_tail(50), timeout_s=150)
        yield child


@pytest.fixture
def submit(client: httpx.Client, astronaut: Path) -> Callable[[int], str]:
    """Submit the photo; jobs with another ``seed`` are not equal. Returns the id."""

    def submit(seed: int) -> str:
        request = f'{{"model": "{MODEL}", "options": {{"seed": {seed}}}}}'
        files = {
            "image": ("photo.png", astronaut.read_bytes(), "image/png"),
            "request": (None, request, "application/json"),
        }
        response = client.post("/v1/restorations", files=files)
        response.raise_for_status()
        return str(response.json()["id"])

    return submit


@contextmanager
def jobs_flowing(submit: Callable[[int], str]) -> Iterator[list[str]]:
    """Submit different jobs, one after the other; yields their ids so far."""
    ids: list[str] = []
    stop = threading.Event()

    def flow() -> None:
        while not stop.wait(0.4):
            ids.append(submit(1000 + len(ids)))

    thread = threading.Thread(target=flow)
    thread.start()
    try:
        yield ids
    finally:
        stop.set()
        thread.join()


def replace(models: Path, source: Path) -> str:
    """Put the file in the model's place, as a promotion does; return its hash."""
    target = models / f"{MODEL}.safetensors"
    partial = target.with_suffix(".partial")
    shutil.copyfile(source, partial)
    partial.replace(target)
    return file_sha256(target)


def served(client: httpx.Client) -> str | None:
    models = client.get("/v1/models").json()["data"]
    return next((model["sha256"] for model in models if model["name"] == MODEL), None)


@pytest.mark.usefixtures("worker")
def test_a_replaced_file_makes_the_later_jobs_and_no_job_fails(
    models: Path,
    environment: dict[str, str],
    client: httpx.Client,
    submit: Callable[[int], str],
    finish: Callable[..., Job],
) -> None:
    target = models / f"{MODEL}.safetensors"
    old = file_sha256(target)
    shutil.copyfile(target, models / f"{MODEL}.before.safetensors")

    first, copy = finish(submit(1)), finish(submit(1))
    assert (first["result"]["model"]["sha256"], first["cached"]) == (old, False)
    assert copy["cached"]

    with jobs_flowing(submit) as ids:
        eventually(lambda: len(ids) > 2)
        new = replace(models, models / "new.safetensors")
        eventually(lambda: served(client) == new, 120)
        later = finish(submit(1))
        before = len(ids)
        eventually(lambda: len(ids) > before + 1)
    assert later["result"]["model"]["sha256"] == new
    assert not later["cached"]
    assert finish(submit(1))["cached"]

    with jobs_flowing(submit) as more:
        argv = ["models", "promote", "new", "--over", MODEL, "--roll-back", "--wait", "120"]
        told = subprocess.run(
            [sys.executable, "-m", "worker.cli", *argv],
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
    assert told.returncode == 0, told.stderr
    assert "1 of 1 workers serve it" in told.stderr
    again = finish(submit(1))
    assert again["result"]["model"]["sha256"] == old

    jobs = [finish(job_id, 120) for job_id in [*ids, *more]]
    assert {job["status"] for job in jobs} == {"succeeded"}
    assert {job["attempt"] for job in jobs} == {1}
    assert {job["result"]["model"]["sha256"] for job in jobs} == {old, new}


def test_a_damaged_file_is_refused_and_the_old_one_goes_on(
    models: Path,
    worker: ChildProcess,
    client: httpx.Client,
    submit: Callable[[int], str],
    finish: Callable[..., Job],
) -> None:
    target = models / f"{MODEL}.safetensors"
    whole = models / "whole.safetensors"
    shutil.copyfile(target, whole)
    old = file_sha256(whole)
    eventually(lambda: served(client) == old, 120)
    half = models / "half.safetensors"
    half.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    replace(models, half)
    refusal = f"the new file of {MODEL} is refused"
    eventually(lambda: refusal in worker.log_tail(200), 120)
    job = finish(submit(2))
    assert (job["status"], job["result"]["model"]["sha256"]) == ("succeeded", old)
    time.sleep(3)
    assert worker.log_tail(500).count(refusal) == 1
    assert worker.running
    replace(models, whole)
    eventually(lambda: f"the file of {MODEL} was replaced" in worker.log_tail(3), 120)
    eventually(lambda: "is ready" in worker.log_tail(1), 120)
    assert finish(submit(3))["result"]["model"]["sha256"] == old
