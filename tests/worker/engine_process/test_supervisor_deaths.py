"""Engine processes that crash, hang or are killed: whose fault it is, and what replaces them."""

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
from worker.engine_process.supervisor import EngineSupervisor, Fault

pytestmark = pytest.mark.timeout(60)


def test_a_crash_is_logged_with_signal_and_stack_and_the_next_photo_has_a_new_process(
    engine: EngineSupervisor, caplog: pytest.LogCaptureFixture
) -> None:
    pid = engine.pid
    crash = crash_of(engine, Act.CRASH, "job_7")
    assert engine.fault(crash, go_on) is Fault.JOB
    assert_works(engine)
    assert engine.pid != pid
    (record,) = [record for record in caplog.records if "SIGSEGV" in record.message]
    assert vars(record)["suspects"] == ("job_7",)
    assert "restorers.py" in vars(record)["stack"]


def in_the_background(do: Callable[[], None], engine: EngineSupervisor) -> threading.Thread:
    """Run ``do`` in a thread; its job is in flight when this returns."""
    thread = threading.Thread(target=do)
    thread.start()
    eventually(lambda: bool(engine._process and engine._process.in_flight))
    return thread


def test_a_job_in_flight_when_another_crashed_the_process_is_begun_again(
    engine: EngineSupervisor, settings: Settings
) -> None:
    done: list[np.ndarray] = []
    bystander = in_the_background(lambda: done.append(restore(engine, Act.WAIT, "job_2")), engine)
    crash = crash_of(engine, Act.CRASH, "job_1")
    assert sorted(job.job_id for job in crash.child.in_flight) == ["job_1", "job_2"]
    settings.models_dir.joinpath(restorers.GO).touch()
    bystander.join()
    assert (done[0] == 255 - Act.WAIT).all()


def test_if_the_cause_is_unknown_all_jobs_in_flight_are_suspects(engine: EngineSupervisor) -> None:
    crashed: list[EngineCrashed] = []
    threads = [
        in_the_background(
            lambda job_id=job_id: crashed.append(  # type: ignore[misc]
                crash_of(engine, Act.RUN_ON, job_id)
            ),
            engine,
        )
        for job_id in ("job_1", "job_2")
    ]
    eventually(lambda: bool(engine._process and len(engine._process.in_flight) == 2))
    assert engine.pid is not None
    os.kill(engine.pid, signal.SIGKILL)  # as the kernel does when memory runs out
    for thread in threads:
        thread.join()
    assert len(crashed) == 2


@pytest.mark.parametrize("act", [Act.HANG, Act.BREAK_THE_DEVICE])
def test_a_process_that_hangs_or_lost_its_device_is_replaced(
    engine: EngineSupervisor, act: Act, caplog: pytest.LogCaptureFixture
) -> None:
    crash = crash_of(engine, act)
    assert engine.fault(crash, go_on) is Fault.JOB
    assert_works(engine)
    words = "no progress for 1 s" if act is Act.HANG else "exit code 70"
    assert any(words in record.message for record in caplog.records)


def test_a_process_that_cannot_start_again_is_the_fault_of_the_worker(
    start: Callable[..., EngineSupervisor],
) -> None:
    engine = start("load_once")
    crash = crash_of(engine, Act.CRASH)
    assert engine.fault(crash, go_on) is Fault.WORKER
    with pytest.raises(EngineLost):
        restore(engine, Act.INVERT)


def test_after_crashes_by_three_different_jobs_the_worker_is_at_fault(
    engine: EngineSupervisor,
) -> None:
    for job_id in ("job_1", "job_2"):
        assert engine.fault(crash_of(engine, Act.CRASH, job_id), go_on) is Fault.JOB
        engine.record_charge(job_id)
    assert engine.fault(crash_of(engine, Act.CRASH, "job_3"), go_on) is Fault.WORKER
    assert engine.jobs_to_refund == ["job_1", "job_2"]
    with pytest.raises(EngineLost):
        restore(engine, Act.INVERT)


def test_waiting_for_a_new_process_can_be_stopped(
    start: Callable[..., EngineSupervisor],
) -> None:
    def cancel() -> None:
        raise JobCanceled

    engine = start()
    crash = crash_of(engine, Act.CRASH)
    with pytest.raises(JobCanceled):
        engine.fault(crash, cancel)


def test_an_idle_process_that_is_killed_is_replaced(
    engine: EngineSupervisor, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    assert engine.pid is not None
    os.kill(engine.pid, signal.SIGKILL)
    eventually(lambda: "SIGKILL" in caplog.text)
    assert_works(engine)


def test_a_killed_spare_process_does_no_harm(engine: EngineSupervisor) -> None:
    eventually(lambda: engine._spare is not None)
    assert engine._spare is not None
    os.kill(engine._spare.pid, signal.SIGKILL)
    eventually(lambda: engine._spare is not None and not engine._spare.alive)
    crash = crash_of(engine, Act.CRASH)
    assert engine.fault(crash, go_on) is Fault.JOB
    assert_works(engine)
