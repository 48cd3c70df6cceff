"""A model in the shadow of the served one: the whole service, and the figures of its operator."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from deploy.embedded.child_process import free_port
from deploy.embedded.stack import Stack
from tests.waiting import eventually
from tests.worker.engine.small_models import save_model

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]
SERVED = "facemend-starter"
JOBS = 3


@pytest.fixture(scope="module")
def metrics_port() -> int:
    return free_port()


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory, metrics_port: int) -> Iterator[Stack]:
    """A stack with a model of random weights in the shadow of each job."""
    folder = tmp_path_factory.mktemp("shadow")
    folder.joinpath("models").mkdir()
    save_model(folder / "models", "newcomer")
    environ = {
        **os.environ,
        "FACEMEND_MODELS_DIR": str(folder / "models"),
        "FACEMEND_DEVICE": "cpu",
        "FACEMEND_RESULT_CACHE": "false",
        "FACEMEND_SHADOW_MODEL": "newcomer",
        "FACEMEND_SHADOW_SHARE": "1",
        "FACEMEND_METRICS_PORT": str(metrics_port),
    }
    stack = Stack(folder / "data", environ=environ)
    stack.start()
    worker = stack.processes["worker"]
    worker.wait_until(lambda: "newcomer runs in the shadow" in worker.log_tail(200), timeout_s=120)
    yield stack
    stack.stop()


@pytest.fixture(scope="module")
def jobs(stack: Stack, astronaut: Path) -> list[dict[str, Any]]:
    """Jobs that have ended, as their client sees them."""
    headers = {"Authorization": f"Bearer {stack.api_key}", "Prefer": "wait=60"}
    request = json.dumps({"options": {"skip_sharp": False}})
    with httpx.Client(base_url=stack.url, headers=headers, timeout=90, trust_env=False) as client:
        answers = [
            client.post(
                "/v1/restorations",
                files={
                    "image": ("photo.png", astronaut.read_bytes(), "image/png"),
                    "request": (None, request, "application/json"),
                },
            )
            for _ in range(JOBS)
        ]
    return [answer.json() for answer in answers]


@pytest.fixture(scope="module")
def shown(stack: Stack, jobs: list[dict[str, Any]]) -> dict[str, Any]:
    """What the command shows once all jobs were compared."""

    def show(*words: str) -> str:
        command = [sys.executable, "-m", "worker.cli", "models", "shadow", "newcomer"]
        done = subprocess.run(
            [*command, "--over", SERVED, "--data", str(stack.folder), *words],
            capture_output=True,
            text=True,
            check=True,
            cwd=Path(__file__).resolve().parents[2],
        )
        return done.stdout

    found: list[dict[str, Any]] = []

    def all_compared() -> bool:
        found[:] = [json.loads(show("--json")) or {"jobs": 0}]
        return bool(found[0]["jobs"] == len(jobs))

    eventually(all_compared, within_s=120)
    assert "| faces restored | 3 | 3 | +0 |" in show()
    return found[0]


def test_a_client_sees_the_served_model_only(
    stack: Stack, jobs: list[dict[str, Any]], shown: dict[str, Any]
) -> None:
    assert [job["status"] for job in jobs] == ["succeeded"] * JOBS
    served = {(job["result"]["model"]["name"], job["result"]["model"]["sha256"]) for job in jobs}
    assert served == {(SERVED, shown["old"]["sha256"])}
    assert shown["new"]["sha256"] != shown["old"]["sha256"]
    assert "newcomer" not in json.dumps(jobs)
    headers = {"Authorization": f"Bearer {stack.api_key}"}
    models = httpx.get(f"{stack.url}/v1/models", headers=headers, trust_env=False).text
    assert SERVED in models
    assert "newcomer" not in models


def test_the_operator_sees_figures_of_both_models(shown: dict[str, Any]) -> None:
    assert (shown["faces"], shown["faces_compared"]) == (JOBS, JOBS)
    assert (shown["dropped"], shown["failed"], shown["enough"]) == (0, {}, False)
    rows = {row["measure"]: row for row in shown["measures"]}
    for measure in ("faces restored", "sharpness over the input's", "ms per restored face"):
        assert rows[measure]["old"] > 0
        assert rows[measure]["new"] > 0
    identity = rows["identity similarity"]
    assert identity["old"] > identity["new"] + 0.1, "random weights lose the person"
    assert rows["the nearer of the two"]["old"] == JOBS
    assert 3 < shown["psnr_db"] < 30


def test_the_metrics_have_the_same_figures(shown: dict[str, Any], metrics_port: int) -> None:
    metrics = httpx.get(f"http://127.0.0.1:{metrics_port}/metrics", trust_env=False).text
    labels = f'model="newcomer",outcome="compared",over="{SERVED}",reason=""'
    assert f"facemend_shadow_runs_total{{{labels}}} {JOBS}.0" in metrics
    labels = f'figure="faces",model="newcomer",over="{SERVED}"'
    assert f"facemend_shadow_figures_total{{{labels}}} {shown['faces']:.1f}" in metrics
