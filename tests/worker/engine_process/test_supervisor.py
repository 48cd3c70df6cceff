"""The engine in a process of its own: what crosses over, and what the child may and knows."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Sequence
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
from worker.engine_process.supervisor import EngineProcess, Fault

pytestmark = pytest.mark.timeout(60)


def count_memory_files() -> int:
    """Of this process: photos, results and last words of children."""
    links = [str(file.readlink()) for file in Path("/proc/self/fd").iterdir() if file.is_symlink()]
    return sum("memfd:" in link for link in links)


def test_a_photo_goes_over_and_its_picture_comes_back(engine: EngineProcess) -> None:
    assert_works(engine)
    (model,) = engine.models
    assert (model.name, model.backend, model.size_px) == (MODEL, "scripted", 64)


def test_progress_comes_back_step_by_step(engine: EngineProcess) -> None:
    heard: list[tuple[str, int, int | None]] = []
    restore(engine, Act.INVERT, on_progress=lambda *step: heard.append(step))
    assert heard == [("detecting", 0, None), ("restoring", 1, 1), ("publishing", 1, 1)]


def test_batches_of_the_child_are_told_to_the_worker(start: Callable[..., EngineProcess]) -> None:
    told: list[tuple[str, Sequence[float]]] = []
    heard = threading.Event()

    def on_batch(model: str, waits_s: Sequence[float]) -> None:
        told.append((model, waits_s))
        heard.set()

    restore(start(on_batch=on_batch), Act.INVERT)
    assert heard.wait(5)
    assert told == [(MODEL, [0.25, 0.5])]


@pytest.mark.parametrize(
    ("act", "kind", "words"),
    [
        (Act.NO_FACE, NoFaceFound, "not a soul"),
        (Act.STARVE, OutOfMemory, "memory"),
        (Act.FAIL, Internal, Internal.title),
    ],
)
def test_errors_cross_with_their_type_and_leave_the_child_alive(
    engine: EngineProcess, act: Act, kind: type[FacemendError], words: str
) -> None:
    pid = engine.pid
    with pytest.raises(kind, match=words) as raised:
        restore(engine, act)
    assert "secret" not in str(raised.value)
    assert_works(engine)
    assert engine.pid == pid


def test_a_long_job_with_progress_does_not_stall(engine: EngineProcess) -> None:
    begun_s = time.monotonic()

    def stop_after_twice_the_limit(*_: object) -> None:
        if time.monotonic() - begun_s > 2:
            raise JobCanceled

    pid = engine.pid
    with pytest.raises(JobCanceled):
        restore(engine, Act.GO_ON_AND_ON, on_progress=stop_after_twice_the_limit)
    assert engine.pid == pid


def test_a_job_that_nobody_waits_for_any_more_is_stopped_in_the_child(
    engine: EngineProcess, settings: Settings
) -> None:
    def cancel() -> None:
        raise JobCanceled

    eventually(lambda: engine._spare is not None)
    memory_files = count_memory_files()
    with pytest.raises(JobCanceled):
        restore(engine, Act.REST, check=cancel)
    with pytest.raises(JobCanceled):
        restore(engine, Act.GO_ON_AND_ON, on_progress=lambda *_: cancel())
    eventually((settings.models_dir / restorers.FORGOTTEN).exists)
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
def test_what_cannot_be_loaded_is_said_in_words(
    start: Callable[..., EngineProcess], load: str, kind: type[FacemendError], words: str
) -> None:
    with pytest.raises(kind, match=words):
        start(load, engine_start_s=3.0 if load == "load_for_ever" else 30.0)


def test_the_child_knows_no_secret(engine: EngineProcess, tmp_path: Path) -> None:
    os.environ["FACEMEND_S3_SECRET_ACCESS_KEY"] = "secret-of-the-tests"
    os.environ["AWS_SECRET_ACCESS_KEY"] = "secret-of-the-tests"
    try:
        crash = crash_of(engine, Act.CRASH)  # the next child is started with these
        assert engine.fault(crash, go_on) is Fault.JOB
        process = Path(f"/proc/{engine.pid}")
        seen = process.joinpath("environ").read_text() + process.joinpath("cmdline").read_text()
    finally:
        del os.environ["FACEMEND_S3_SECRET_ACCESS_KEY"], os.environ["AWS_SECRET_ACCESS_KEY"]
    assert "of-the-tests" not in seen
    assert "FACEMEND" not in seen


def test_the_child_leaves_no_core_and_is_the_first_to_go_when_memory_is_short(
    engine: EngineProcess,
) -> None:
    process = Path(f"/proc/{engine.pid}")
    (core,) = [
        line
        for line in process.joinpath("limits").read_text().splitlines()
        if line.startswith("Max core file size")
    ]
    assert core.split()[4:6] == ["0", "0"]
    assert process.joinpath("oom_score_adj").read_text() == "1000\n"


def test_signals_to_the_whole_group_do_not_end_the_child(engine: EngineProcess) -> None:
    assert engine.pid is not None
    for number in (signal.SIGINT, signal.SIGTERM):
        os.kill(engine.pid, number)
    pid = engine.pid
    assert_works(engine)
    assert engine.pid == pid


def test_closed_it_leaves_no_process_behind(start: Callable[..., EngineProcess]) -> None:
    engine = start()
    pid = engine.pid
    engine.close()
    assert not Path(f"/proc/{pid}").exists()
