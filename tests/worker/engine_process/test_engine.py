"""The engine in a process of its own: real children that crash, hang, fail and are replaced."""

from __future__ import annotations

import io
import logging
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

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
from tests.worker.engine_process import restorers
from tests.worker.engine_process.restorers import Act
from tests.worker.engine_process.test_workbench import order
from tests.worker.scripted import MODEL
from worker.decoder.parcel import Decoded, memory_file
from worker.decoder.pixels import pack
from worker.engine import Photo
from worker.engine_process.child import EngineCrashed
from worker.engine_process.engine import EngineLost, EngineProcess, Fault

pytestmark = pytest.mark.timeout(60)
RESTORERS = restorers.__name__


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(
        _env_file=None,
        models_dir=tmp_path,
        stall_s=1.0,
        engine_start_s=30.0,
        api_key_pepper="pepper-of-the-tests",  # type: ignore[arg-type]
        redis_url="redis://:password-of-the-tests@127.0.0.1:1/0",  # type: ignore[arg-type]
    )


@pytest.fixture
def start(settings: Settings) -> Iterator[Callable[..., EngineProcess]]:
    engines: list[EngineProcess] = []

    def start(load: str = "load_restorers", **changes: Any) -> EngineProcess:
        batches = changes.pop("on_batch", lambda _model, _waits_s: None)
        changed = settings.model_copy(update=changes)
        engine = EngineProcess(changed, f"{RESTORERS}:{load}", batches)
        engines.append(engine)
        engine.start()
        return engine

    yield start
    for engine in engines:
        engine.close()


@pytest.fixture
def engine(start: Callable[..., EngineProcess]) -> EngineProcess:
    return start()


def go_on(*_: object) -> None:
    """Neither cancelled nor lost."""


def restore(engine: EngineProcess, act: Act, job_id: str = "job_1", **how: Any) -> np.ndarray:
    """A photo that orders this act; the pixels of what came of it."""
    on_progress, check = how.pop("on_progress", go_on), how.pop("check", go_on)
    fd = memory_file("photo")
    pack(Photo.of_pixels(np.full((32, 32, 3), act, np.uint8)), fd)
    asked = order(output={"format": "png"})
    asked = type(asked)(job_id, asked.model, asked.options, asked.output)
    with Decoded(fd) as photo:
        finished = engine.restore(asked, photo.fd, on_progress, check, **how)
    with finished:
        picture = finished.pictures["restored"]
        return np.asarray(Image.open(io.BytesIO(finished.read(picture))).convert("RGB"))


def crash_of(engine: EngineProcess, act: Act, job_id: str = "job_1") -> EngineCrashed:
    with pytest.raises(EngineCrashed) as raised:
        restore(engine, act, job_id)
    return raised.value


def wait_for(condition: Callable[[], bool], seconds: float = 15) -> None:
    give_up_s = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < give_up_s
        time.sleep(0.01)


def count_memory_files() -> int:
    """Of this process: photos, results and last words of children."""
    links = [str(file.readlink()) for file in Path("/proc/self/fd").iterdir() if file.is_symlink()]
    return sum("memfd:" in link for link in links)


def assert_works(engine: EngineProcess) -> None:
    assert (restore(engine, Act.INVERT) == 255 - Act.INVERT).all()


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


def test_a_crash_is_told_with_its_signal_and_place_and_the_next_photo_finds_a_new_child(
    engine: EngineProcess, caplog: pytest.LogCaptureFixture
) -> None:
    pid = engine.pid
    crash = crash_of(engine, Act.CRASH, "job_7")
    assert engine.fault(crash, go_on) is Fault.JOB
    assert_works(engine)
    assert engine.pid != pid
    (record,) = [record for record in caplog.records if "SIGSEGV" in record.message]
    assert vars(record)["suspects"] == ("job_7",)
    assert "restorers.py" in vars(record)["stack"]


def in_the_background(do: Callable[[], None], engine: EngineProcess) -> threading.Thread:
    """Do something at the engine; it is there when this returns."""
    thread = threading.Thread(target=do)
    thread.start()
    wait_for(lambda: bool(engine._child and engine._child.hands))
    return thread


def test_who_was_at_the_engine_when_another_crashed_it_is_begun_again(
    engine: EngineProcess, settings: Settings
) -> None:
    done: list[np.ndarray] = []
    bystander = in_the_background(lambda: done.append(restore(engine, Act.WAIT, "job_2")), engine)
    crash = crash_of(engine, Act.CRASH, "job_1")
    assert sorted(hand.job_id for hand in crash.child.hands) == ["job_1", "job_2"]
    settings.models_dir.joinpath(restorers.GO).touch()
    bystander.join()
    assert (done[0] == 255 - Act.WAIT).all()


def test_where_nobody_can_tell_who_it_was_all_are_suspects(engine: EngineProcess) -> None:
    crashed: list[EngineCrashed] = []
    threads = [
        in_the_background(
            lambda job_id=job_id: crashed.append(  # type: ignore[misc]
                crash_of(engine, Act.GO_ON_AND_ON, job_id)
            ),
            engine,
        )
        for job_id in ("job_1", "job_2")
    ]
    wait_for(lambda: bool(engine._child and len(engine._child.hands) == 2))
    assert engine.pid is not None
    os.kill(engine.pid, signal.SIGKILL)  # as the kernel does that has no memory left
    for thread in threads:
        thread.join()
    assert len(crashed) == 2


@pytest.mark.parametrize("act", [Act.HANG, Act.BREAK_THE_DEVICE])
def test_a_child_that_hangs_or_lost_its_device_is_replaced(
    engine: EngineProcess, act: Act, caplog: pytest.LogCaptureFixture
) -> None:
    crash = crash_of(engine, act)
    assert engine.fault(crash, go_on) is Fault.JOB
    assert_works(engine)
    words = "no progress for 1 s" if act is Act.HANG else "exit code 70"
    assert any(words in record.message for record in caplog.records)


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

    wait_for(lambda: engine._spare is not None)
    memory_files = count_memory_files()
    with pytest.raises(JobCanceled):
        restore(engine, Act.REST, check=cancel)
    with pytest.raises(JobCanceled):
        restore(engine, Act.GO_ON_AND_ON, on_progress=lambda *_: cancel())
    wait_for((settings.models_dir / restorers.FORGOTTEN).exists)
    assert_works(engine)
    assert count_memory_files() == memory_files


def test_a_child_that_cannot_start_again_speaks_for_the_job(
    start: Callable[..., EngineProcess],
) -> None:
    engine = start("load_once")
    crash = crash_of(engine, Act.CRASH)
    assert engine.fault(crash, go_on) is Fault.WORKER
    with pytest.raises(EngineLost):
        restore(engine, Act.INVERT)


def test_three_different_jobs_in_a_row_and_the_worker_is_at_fault(engine: EngineProcess) -> None:
    for job_id in ("job_1", "job_2"):
        assert engine.fault(crash_of(engine, Act.CRASH, job_id), go_on) is Fault.JOB
        engine.charged(job_id)
    assert engine.fault(crash_of(engine, Act.CRASH, "job_3"), go_on) is Fault.WORKER
    assert engine.wrongly_charged == ["job_1", "job_2"]
    with pytest.raises(EngineLost):
        restore(engine, Act.INVERT)


def test_while_a_new_child_starts_one_may_stop_waiting(
    start: Callable[..., EngineProcess],
) -> None:
    def cancel() -> None:
        raise JobCanceled

    engine = start()
    crash = crash_of(engine, Act.CRASH)
    with pytest.raises(JobCanceled):
        engine.fault(crash, cancel)


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


def test_a_killed_child_with_nothing_to_do_is_replaced(
    engine: EngineProcess, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    assert engine.pid is not None
    os.kill(engine.pid, signal.SIGKILL)
    wait_for(lambda: "SIGKILL" in caplog.text)
    assert_works(engine)


def test_closed_it_leaves_no_process_behind(start: Callable[..., EngineProcess]) -> None:
    engine = start()
    pid = engine.pid
    engine.close()
    assert not Path(f"/proc/{pid}").exists()


def test_a_spare_child_that_was_killed_is_not_missed(engine: EngineProcess) -> None:
    wait_for(lambda: engine._spare is not None)
    assert engine._spare is not None
    os.kill(engine._spare.pid, signal.SIGKILL)
    wait_for(lambda: engine._spare is not None and not engine._spare.alive)
    crash = crash_of(engine, Act.CRASH)
    assert engine.fault(crash, go_on) is Fault.JOB
    assert_works(engine)
