from __future__ import annotations

from typing import Any

import pytest
from click.testing import CliRunner
from redis import Redis
from rich.console import Console

from shared.jobs.job import Priority, Status
from shared.jobs.record import Outcome
from shared.jobs.store import JobStore
from shared.jobs.workers import ServedModel, WorkerState
from tests.jobs import new_job
from worker.cli import main
from worker.commands.top.screen import draw, duration
from worker.commands.top.snapshot import Snapshot, read_snapshot

EMPTY = Snapshot([], 0, 0, 0.0, 0.0, [], [], 0, 0.0)


def text_of(snapshot: Snapshot, width: int = 160) -> str:
    console = Console(width=width, record=True, file=None, quiet=False)
    with console.capture() as captured:
        console.print(draw(snapshot))
    return captured.get()


@pytest.fixture
def busy(store: JobStore, redis: Redis) -> Snapshot:
    """Two queues, a worker and a failure."""
    old = store.create(new_job(model="m", priority=Priority.HIGH))
    redis.zincrby("fm:queue:high:m", -400, old.id)
    store.create(new_job(model="m", priority=Priority.LOW))
    bad = store.create(new_job(model="n", tenant="globex"))
    claim = store.runs.claim(bad.id, "w-1")
    assert claim
    error = {"code": "poisoned", "detail": "The photo crashes the worker"}
    store.runs.finish(bad.id, claim.token, Outcome(Status.FAILED, error=error))
    model = ServedModel("m", "e" * 64, 512, "MIT", "fp16", "torch", 20.0, batch=32)
    state = WorkerState("cuda:1", 4, 3, 16, 2, 47.5, 0.93, memory_bytes=5 * 2**30)
    store.workers.announce("gpu-7", [model], 4, state)
    return read_snapshot(store)


def test_queues_are_shown_with_their_jobs_and_age_by_priority(busy: Snapshot) -> None:
    assert [(str(row.name), row.jobs) for row in busy.queues[:2]] == [("m.high", 1), ("m.low", 1)]
    assert "6 min 4" in text_of(busy)  # and the time of the test


def test_workers_are_shown_with_model_place_batch_speed_and_memory(busy: Snapshot) -> None:
    text = text_of(busy)
    (line,) = (line for line in text.splitlines() if "gpu-7" in line)
    for part in ("m", "cuda:1", "32", "3/4", "2/16", "47.5", "93%", "5,120 MiB"):
        assert part in line
    assert "faces/s 47.5" in text


def test_queues_and_workers_are_shown_with_their_pool(store: JobStore) -> None:
    store.create(new_job(model="m", pool="eu-west"))
    model = ServedModel("m", "e" * 64, 512, "MIT", "fp16", "torch", 20.0)
    store.workers.announce("gpu-8", [model], pool="eu-west")
    lines = [line for line in text_of(read_snapshot(store)).splitlines() if "m@eu-west" in line]
    assert len(lines) == 2
    assert "normal" in lines[0]
    assert "gpu-8" in lines[1]


def test_last_failures_name_job_tenant_and_problem(busy: Snapshot) -> None:
    (line,) = (line for line in text_of(busy).splitlines() if "poisoned" in line)
    assert "globex" in line
    assert busy.failures[0].id in line


def test_an_empty_service_says_that_no_worker_lives() -> None:
    text = text_of(EMPTY)
    assert "no job waits" in text
    assert "no live worker" in text


@pytest.mark.parametrize("width", [60, 80, 200])
def test_the_screen_fits_any_terminal(busy: Snapshot, width: int) -> None:
    assert max(map(len, text_of(busy, width).splitlines())) <= width


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0, "0.0 s"), (4.21, "4.2 s"), (200, "3 min 20 s"), (7_500, "2 h 5 min")],
)
def test_durations_have_two_units_at_most(seconds: float, words: str) -> None:
    assert duration(seconds) == words


def test_once_prints_the_view_and_ends(
    busy: Snapshot, stack_settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FACEMEND_REDIS_URL", stack_settings["redis_url"])
    done = CliRunner().invoke(main, ["top", "--once"], catch_exceptions=False)
    assert done.exit_code == 0
    assert "gpu-7" in done.stdout


def test_without_redis_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FACEMEND_REDIS_URL", "redis://127.0.0.1:9")
    done = CliRunner().invoke(main, ["top", "--once"], catch_exceptions=False)
    assert done.exit_code == 4
