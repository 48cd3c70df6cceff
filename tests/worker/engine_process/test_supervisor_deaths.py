"""Children of the engine that crash, hang or are killed: who is to blame, and who takes over."""

from __future__ import annotations

import logging
import os
import signal
import threading
from collections.abc import Callable

import numpy as np
import pytest

from shared.errors import EngineCrashed, EngineLost, JobCanceled
from shared.settings import Settings
from tests.waiting import eventually
from tests.worker.engine_process import restorers
from tests.worker.engine_process.conftest import assert_works, crash_of, go_on, restore
from tests.worker.engine_process.restorers import Act
from worker.engine_process.supervisor import EngineProcess, Fault

pytestmark = pytest.mark.timeout(60)


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
    eventually(lambda: bool(engine._child and engine._child.hands))
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
    eventually(lambda: bool(engine._child and len(engine._child.hands) == 2))
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


def test_a_killed_child_with_nothing_to_do_is_replaced(
    engine: EngineProcess, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    assert engine.pid is not None
    os.kill(engine.pid, signal.SIGKILL)
    eventually(lambda: "SIGKILL" in caplog.text)
    assert_works(engine)


def test_a_spare_child_that_was_killed_is_not_missed(engine: EngineProcess) -> None:
    eventually(lambda: engine._spare is not None)
    assert engine._spare is not None
    os.kill(engine._spare.pid, signal.SIGKILL)
    eventually(lambda: engine._spare is not None and not engine._spare.alive)
    crash = crash_of(engine, Act.CRASH)
    assert engine.fault(crash, go_on) is Fault.JOB
    assert_works(engine)
