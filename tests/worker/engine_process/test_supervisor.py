"""The engine in its own process: what comes back, and what the process can see and do."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from shared.errors import (
    FacemendError,
    Internal,
    JobCanceled,
    ModelUnavailable,
    NoFaceFound,
    OutOfMemory,
    WeightsInvalid,
)
from shared.settings import Settings
from tests.waiting import eventually
from tests.worker.engine_process import restorers
from tests.worker.engine_process.conftest import assert_works, crash_of, go_on, restore
from tests.worker.engine_process.restorers import Act
from tests.worker.scripted import MODEL
from worker.engine_process.batch_metrics import DeviceBatch
from worker.engine_process.supervisor import EngineSupervisor, Fault

pytestmark = pytest.mark.timeout(60)


def count_memory_files() -> int:
    """Those of this process: photos, results, and crash output of engine processes."""
    links = [str(file.readlink()) for file in Path("/proc/self/fd").iterdir() if file.is_symlink()]
    return sum("memfd:" in link for link in links)


def test_a_photo_is_restored_in_the_engine_process(engine: EngineSupervisor) -> None:
    assert_works(engine)
    (model,) = engine.models
    assert (model.name, model.backend, model.size_px) == (MODEL, "scripted", 64)


def test_progress_is_reported_step_by_step(engine: EngineSupervisor) -> None:
    steps: list[tuple[str, int, int | None]] = []
    restore(engine, Act.INVERT, on_progress=lambda *step: steps.append(step))
    assert steps == [("detecting", 0, None), ("restoring", 1, 1), ("publishing", 1, 1)]


def test_the_worker_receives_the_batches_of_the_engine_process(
    start: Callable[..., EngineSupervisor],
) -> None:
    received: list[DeviceBatch] = []
    arrived = threading.Event()

    def on_batch(batch: DeviceBatch) -> None:
        received.append(batch)
        arrived.set()

    restore(start(on_batch=on_batch), Act.INVERT)
    assert arrived.wait(5)
    assert received == [
        DeviceBatch(MODEL, 1.5, 0.75, [0.25, 0.5], ["job_1", "job_2"], memory=[3, 4])
    ]


@pytest.mark.parametrize(
    ("act", "kind", "words"),
    [
        (Act.NO_FACE, NoFaceFound, "not a soul"),
        (Act.RUN_OUT_OF_MEMORY, OutOfMemory, "memory"),
        (Act.FAIL, Internal, Internal.title),
    ],
)
def test_an_error_keeps_its_type_and_the_engine_process_stays_alive(
    engine: EngineSupervisor, act: Act, kind: type[FacemendError], words: str
) -> None:
    pid = engine.pid
    with pytest.raises(kind, match=words) as raised:
        restore(engine, act)
    assert "secret" not in str(raised.value)
    assert_works(engine)
    assert engine.pid == pid


def test_a_long_job_with_progress_does_not_stall(engine: EngineSupervisor) -> None:
    started_s = time.monotonic()

    def stop_after_twice_the_limit(*_: object) -> None:
        if time.monotonic() - started_s > 2:
            raise JobCanceled

    pid = engine.pid
    with pytest.raises(JobCanceled):
        restore(engine, Act.RUN_ON, on_progress=stop_after_twice_the_limit)
    assert engine.pid == pid


def test_a_cancelled_job_is_stopped_in_the_engine_process(
    engine: EngineSupervisor, settings: Settings
) -> None:
    def cancel() -> None:
        raise JobCanceled

    eventually(lambda: engine._spare is not None)
    memory_files = count_memory_files()
    with pytest.raises(JobCanceled):
        restore(engine, Act.SLEEP, check=cancel)
    with pytest.raises(JobCanceled):
        restore(engine, Act.RUN_ON, on_progress=lambda *_: cancel())
    eventually((settings.models_dir / restorers.STOPPED).exists)
    assert_works(engine)
    assert count_memory_files() == memory_files


@pytest.mark.parametrize(
    ("load", "kind", "words"),
    [
        ("load_never", WeightsInvalid, "hash of the file"),
        ("die_loading", ModelUnavailable, "died at its start: SIGKILL"),
        ("no_such_function", ModelUnavailable, "AttributeError .*no_such_function"),
        ("load_for_ever", ModelUnavailable, "not ready after 3 s"),
    ],
)
def test_models_that_cannot_be_loaded_are_an_error_that_says_why(
    start: Callable[..., EngineSupervisor], load: str, kind: type[FacemendError], words: str
) -> None:
    with pytest.raises(kind, match=words):
        start(load, engine_start_s=3.0 if load == "load_for_ever" else 30.0)


def test_the_engine_process_sees_no_secret(engine: EngineSupervisor, tmp_path: Path) -> None:
    os.environ["FACEMEND_S3_SECRET_ACCESS_KEY"] = "secret-of-the-tests"
    os.environ["AWS_SECRET_ACCESS_KEY"] = "secret-of-the-tests"
    try:
        crash = crash_of(engine, Act.CRASH)  # the next process is spawned with these
        assert engine.fault(crash, go_on) is Fault.JOB
        process = Path(f"/proc/{engine.pid}")
        seen = process.joinpath("environ").read_text() + process.joinpath("cmdline").read_text()
    finally:
        del os.environ["FACEMEND_S3_SECRET_ACCESS_KEY"], os.environ["AWS_SECRET_ACCESS_KEY"]
    assert "of-the-tests" not in seen
    assert "FACEMEND" not in seen


def test_the_engine_process_dumps_no_core_and_is_killed_first_for_memory(
    engine: EngineSupervisor,
) -> None:
    process = Path(f"/proc/{engine.pid}")
    (core,) = [
        line
        for line in process.joinpath("limits").read_text().splitlines()
        if line.startswith("Max core file size")
    ]
    assert core.split()[4:6] == ["0", "0"]
    assert process.joinpath("oom_score_adj").read_text() == "1000\n"


def test_signals_to_the_process_group_do_not_end_the_engine_process(
    engine: EngineSupervisor,
) -> None:
    assert engine.pid is not None
    for number in (signal.SIGINT, signal.SIGTERM):
        os.kill(engine.pid, number)
    pid = engine.pid
    assert_works(engine)
    assert engine.pid == pid


def test_close_leaves_no_process_behind(start: Callable[..., EngineSupervisor]) -> None:
    engine = start()
    pid = engine.pid
    engine.close()
    assert not Path(f"/proc/{pid}").exists()


def test_a_line_of_the_engine_process_names_tenant_job_and_request(
    start: Callable[..., EngineSupervisor], capfd: pytest.CaptureFixture[str]
) -> None:
    engine = start(log_format="json")
    fields = {"job_id": "job_1", "tenant": "acme", "request_id": "req_1"}
    with pytest.raises(Internal):
        restore(engine, Act.FAIL, log_fields=fields)
    engine.close()
    lines = [json.loads(line) for line in capfd.readouterr().err.splitlines() if line[:1] == "{"]
    (line,) = [line for line in lines if line["event"] == "the engine failed"]
    assert fields.items() <= line.items()
