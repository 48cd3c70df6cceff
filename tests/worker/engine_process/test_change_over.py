"""A model's file is replaced while the worker runs: the next process takes over, no job is lost."""

from __future__ import annotations

import hashlib
import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import REGISTRY

from shared.errors import FacemendError
from shared.settings import Settings
from tests.waiting import eventually
from tests.worker.engine_process.conftest import assert_works, crash_of, go_on, restore
from tests.worker.engine_process.restorers import GO, LOAD, Act
from tests.worker.scripted import MODEL
from worker.engine_process.supervisor import EngineSupervisor, Fault

pytestmark = pytest.mark.timeout(90)
Start = Callable[..., EngineSupervisor]


@pytest.fixture
def write(settings: Settings) -> Callable[[bytes], None]:
    """Put another file in the place of the model's."""

    def write(words: bytes) -> None:
        new = settings.models_dir / "new"
        new.write_bytes(words)
        new.replace(settings.models_dir / f"{MODEL}.safetensors")

    write(b"first")
    return write


Write = Callable[[bytes], None]


@pytest.fixture
def engine(start: Start, write: Write) -> EngineSupervisor:
    return start("load_file")


@pytest.fixture
def counted() -> Callable[[str], float]:
    """How many replaced files had this outcome since the test began."""

    def read(outcome: str) -> float:
        labels = {"model": MODEL, "outcome": outcome}
        return REGISTRY.get_sample_value("facemend_models_replaced_total", labels) or 0.0

    before = {outcome: read(outcome) for outcome in ("changed", "refused")}
    return lambda outcome: read(outcome) - before[outcome]


def serves(engine: EngineSupervisor, words: bytes) -> bool:
    (model,) = engine.models
    return model.sha256 == hashlib.sha256(words).hexdigest()


def in_flight(
    engine: EngineSupervisor, act: Act, job_id: str
) -> tuple[threading.Thread, list[Any]]:
    """Begin a job in the process that accepts jobs now; return its thread and what it gets."""
    got: list[Any] = []

    def run() -> None:
        try:
            got.append(restore(engine, act, job_id))
        except FacemendError as error:
            got.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    process = engine._process
    assert process is not None
    eventually(lambda: [job.job_id for job in process.in_flight if job.thread] == [job_id])
    return thread, got


def test_a_replaced_file_is_served_by_a_new_process_and_the_old_one_ends(
    engine: EngineSupervisor, write: Write, counted: Callable[[str], float]
) -> None:
    old = engine.pid
    write(b"second")
    eventually(lambda: serves(engine, b"second"))
    assert engine.pid != old
    assert_works(engine)
    eventually(lambda: not Path(f"/proc/{old}").exists())
    write(b"first")
    eventually(lambda: serves(engine, b"first"))
    assert_works(engine)
    assert (counted("changed"), counted("refused")) == (2, 0)


def test_jobs_run_in_the_old_process_until_the_new_one_is_ready_and_end_there(
    engine: EngineSupervisor, write: Write, settings: Settings
) -> None:
    old = engine._process
    assert old is not None
    write(b"slow second")
    eventually(lambda: engine._next is not None)
    thread, got = in_flight(engine, Act.WAIT, "job_1")
    assert engine._process is old
    (settings.models_dir / LOAD).touch()
    eventually(lambda: serves(engine, b"slow second"))
    assert_works(engine)  # a new job runs in the new process, while the old one goes on
    assert [job.job_id for job in old.in_flight] == ["job_1"]
    assert old.alive
    (settings.models_dir / GO).touch()
    thread.join()
    assert (got[0] == 255 - Act.WAIT).all()
    eventually(lambda: not Path(f"/proc/{old.pid}").exists())


def test_the_next_change_over_waits_until_the_retired_process_has_ended(
    engine: EngineSupervisor, write: Write, settings: Settings
) -> None:
    """So two models are in memory, and never three."""
    thread, _ = in_flight(engine, Act.WAIT, "job_1")
    write(b"second")
    eventually(lambda: serves(engine, b"second"))
    write(b"third")
    time.sleep(1)  # ten looks
    assert engine._next is None
    (settings.models_dir / GO).touch()
    thread.join()
    eventually(lambda: serves(engine, b"third"))


def test_a_job_that_comes_to_the_old_process_too_late_runs_in_the_new_one(
    engine: EngineSupervisor, write: Write, settings: Settings
) -> None:
    thread, _ = in_flight(engine, Act.WAIT, "job_1")
    old = engine._process
    assert old is not None
    write(b"second")
    eventually(lambda: serves(engine, b"second"))
    processes = iter([old, engine._process])
    engine._wait_for_process = lambda _check: next(processes)  # type: ignore[assignment,method-assign,return-value]
    seen: list[list[str]] = []

    def on_progress(*_: object) -> None:
        seen.append([job.job_id for job in old.in_flight])

    restore(engine, Act.INVERT, "job_2", on_progress=on_progress)
    assert seen == [["job_1"]] * 3
    (settings.models_dir / GO).touch()
    thread.join()


def test_no_job_fails_while_files_are_replaced_again_and_again(
    engine: EngineSupervisor, write: Write
) -> None:
    stop, failed, done = threading.Event(), [], []

    def run(number: int) -> None:
        while not stop.is_set():
            try:
                restore(engine, Act.INVERT, f"job_{number}")
                done.append(number)
            except FacemendError as error:
                failed.append(error)

    threads = [threading.Thread(target=run, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    for words in (b"second", b"third"):
        write(words)
        eventually(lambda words=words: serves(engine, words))  # type: ignore[misc]
        before = len(done)
        eventually(lambda before=before: len(done) > before + 3)  # type: ignore[misc]
    stop.set()
    for thread in threads:
        thread.join()
    assert not failed


def test_a_file_that_cannot_be_loaded_is_refused_once_and_the_old_model_stays(
    engine: EngineSupervisor,
    write: Write,
    counted: Callable[[str], float],
    caplog: pytest.LogCaptureFixture,
) -> None:
    pid = engine.pid
    write(b"damaged")
    eventually(lambda: counted("refused") == 1)
    time.sleep(1)  # ten looks
    assert engine.pid == pid
    assert serves(engine, b"first")
    assert_works(engine)
    words = "the new file of scripted is refused: the file is damaged"
    assert [record.message for record in caplog.records if record.levelname == "ERROR"] == [words]
    write(b"second")
    eventually(lambda: serves(engine, b"second"))
    assert (counted("changed"), counted("refused")) == (1, 1)


def test_a_process_that_dies_while_it_loads_harms_no_job(
    engine: EngineSupervisor, write: Write, settings: Settings, counted: Callable[[str], float]
) -> None:
    thread, got = in_flight(engine, Act.WAIT, "job_1")
    write(b"deadly")
    eventually(lambda: counted("refused") == 1)
    (settings.models_dir / GO).touch()
    thread.join()
    assert (got[0] == 255 - Act.WAIT).all()
    assert engine._crashes._crashes_without_jobs == 0
    assert not engine.lost.is_set()


def test_a_file_that_is_replaced_again_while_it_loads_is_not_served(
    engine: EngineSupervisor, write: Write, settings: Settings, counted: Callable[[str], float]
) -> None:
    write(b"slow second")
    eventually(lambda: engine._next is not None)
    time.sleep(0.5)  # it has read the file
    write(b"first")
    (settings.models_dir / LOAD).touch()
    eventually(lambda: counted("changed") == 1)
    assert serves(engine, b"first")
    assert counted("refused") == 1


def test_the_old_process_crashes_while_the_new_one_loads(
    engine: EngineSupervisor, write: Write, settings: Settings
) -> None:
    write(b"slow second")
    eventually(lambda: engine._next is not None)
    bystander, got = in_flight(engine, Act.WAIT, "job_2")
    crash = crash_of(engine, Act.CRASH, "job_1")
    assert crash not in engine._faults
    (settings.models_dir / LOAD).touch()
    assert engine.fault(crash, go_on) is Fault.JOB
    (settings.models_dir / GO).touch()
    bystander.join()
    assert (got[0] == 255 - Act.WAIT).all()
    assert serves(engine, b"slow second")


def test_the_old_process_crashes_while_a_file_loads_that_is_then_refused(
    engine: EngineSupervisor, write: Write, settings: Settings
) -> None:
    """Nothing is left to serve: the worker is at fault, no job is."""
    write(b"slow but deadly")
    eventually(lambda: engine._next is not None)
    crash = crash_of(engine, Act.CRASH)
    write(b"damaged")
    assert engine._next is not None
    engine._next.kill("in this test")
    assert engine.fault(crash, go_on) is Fault.WORKER
    assert engine.lost.is_set()


def test_a_retired_process_that_crashes_accuses_its_own_job_and_no_other(
    engine: EngineSupervisor, write: Write, settings: Settings
) -> None:
    thread, got = in_flight(engine, Act.WAIT, "job_1")
    retired = engine._process
    assert retired is not None
    write(b"second")
    eventually(lambda: serves(engine, b"second"))
    current = engine._process
    other, got_other = in_flight(engine, Act.WAIT, "job_2")
    os.kill(retired.pid, signal.SIGSEGV)
    thread.join()
    (crash,) = got
    assert crash.child is retired
    assert engine.fault(crash, go_on) is Fault.JOB
    assert engine._process is current
    (settings.models_dir / GO).touch()
    other.join()
    assert (got_other[0] == 255 - Act.WAIT).all()


def test_the_new_process_crashes_while_the_old_one_ends_its_jobs(
    engine: EngineSupervisor, write: Write, settings: Settings
) -> None:
    thread, got = in_flight(engine, Act.WAIT, "job_1")
    write(b"second")
    eventually(lambda: serves(engine, b"second"))
    crash = crash_of(engine, Act.CRASH, "job_2")
    assert engine.fault(crash, go_on) is Fault.JOB
    assert [job.job_id for job in crash.child.in_flight] == ["job_2"]
    assert_works(engine)
    (settings.models_dir / GO).touch()
    thread.join()
    assert (got[0] == 255 - Act.WAIT).all()


def test_the_kernel_kills_the_old_process_because_two_need_too_much_memory(
    engine: EngineSupervisor, write: Write, settings: Settings
) -> None:
    """The job is no suspect, and begins again in the new process."""
    thread, got = in_flight(engine, Act.WAIT, "job_1")
    write(b"slow second")
    eventually(lambda: engine._next is not None)
    assert engine.pid is not None
    os.kill(engine.pid, signal.SIGKILL)
    (settings.models_dir / LOAD).touch()
    eventually(lambda: serves(engine, b"slow second"))
    assert engine._crashes._evidence_against_worker == set()
    (settings.models_dir / GO).touch()
    thread.join()
    assert (got[0] == 255 - Act.WAIT).all()


def test_after_crashes_of_retired_processes_the_worker_is_lost_with_all_its_processes(
    engine: EngineSupervisor, write: Write
) -> None:
    for number, words in enumerate((b"second", b"third", b"fourth")):
        thread, got = in_flight(engine, Act.WAIT, f"job_{number}")
        retired = engine._process
        assert retired is not None
        write(words)
        eventually(lambda words=words: serves(engine, words))  # type: ignore[misc]
        os.kill(retired.pid, signal.SIGSEGV)
        thread.join()
        crash = got[0]
    assert engine.fault(crash, go_on) is Fault.WORKER
    assert engine.lost.is_set()
    engine._thread.join(20)
    assert not engine._thread.is_alive()


def test_a_worker_that_does_not_look_serves_what_it_has(start: Start, write: Write) -> None:
    engine = start("load_file", model_watch_s=0.0)
    write(b"second")
    time.sleep(1)
    assert serves(engine, b"first")


@pytest.mark.parametrize("words", [b"second", b"slow second"])
def test_close_ends_all_processes_of_a_change_over(
    engine: EngineSupervisor, write: Write, words: bytes
) -> None:
    thread, _ = in_flight(engine, Act.WAIT, "job_1")
    write(words)
    eventually(lambda: engine._retired or (engine._next and words.startswith(b"slow")))
    pids = [process.pid for process in engine._running()]
    assert len(pids) == 2
    engine.close()
    thread.join()
    assert not any(Path(f"/proc/{pid}").exists() for pid in pids)
