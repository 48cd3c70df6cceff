"""The shadow in a real engine process: whatever it does, no job fails and none is blamed."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
import pytest

from shared.settings import Settings
from tests.waiting import eventually
from tests.worker.engine_process import restorers
from tests.worker.engine_process.conftest import assert_works, crash_of, go_on, restore
from tests.worker.engine_process.restorers import Act
from tests.worker.scripted import MODEL
from worker.engine_process.shadow_report import CRASHED, ShadowReport
from worker.engine_process.supervisor import EngineSupervisor, Fault

pytestmark = pytest.mark.timeout(120)


class Shadowed:
    """An engine with a shadow that does ``act`` with each photo."""

    def __init__(self, start: Callable[..., EngineSupervisor], act: str, share: float = 1) -> None:
        self.reports: list[ShadowReport] = []
        self.engine = start(shadow_model=act, shadow_share=share, on_shadow=self.reports.append)

    @property
    def outcomes(self) -> list[str]:
        return [report.outcome for report in self.reports]

    def wait_for(self, *outcomes: str) -> None:
        eventually(lambda: self.outcomes == list(outcomes))


@pytest.fixture
def shadowed(start: Callable[..., EngineSupervisor]) -> Callable[..., Shadowed]:
    def shadowed(act: str, share: float = 1) -> Shadowed:
        made = Shadowed(start, act, share)
        made.wait_for("began", "loaded")
        return made

    return shadowed


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor() as pool:
        yield pool


def begin(
    pool: ThreadPoolExecutor, engine: EngineSupervisor, act: Act, job_id: str
) -> Future[np.ndarray]:
    """Begin a job; it is in flight on return."""
    future = pool.submit(restore, engine, act, job_id)
    eventually(
        lambda: engine._process and job_id in {job.job_id for job in engine._process.in_flight}
    )
    return future


def test_the_worker_hears_what_was_compared_and_serves_the_old_model_only(
    shadowed: Callable[..., Shadowed],
) -> None:
    shadow = shadowed("invert")
    assert_works(shadow.engine)
    shadow.wait_for("began", "loaded", "began", "compared")
    pair, figures = shadow.reports[-1].pair, shadow.reports[-1].figures
    assert (pair.new, pair.new_sha256, pair.old) == ("invert", "1" * 64, MODEL)
    assert (figures.jobs, figures.new_restored, figures.squared_error) == (1, 1, 0)
    assert [model.name for model in shadow.engine.models] == [MODEL]


def test_with_a_share_of_0_nothing_is_loaded(
    start: Callable[..., EngineSupervisor], settings: Settings
) -> None:
    shadow = Shadowed(start, "invert", share=0)
    assert_works(shadow.engine)
    assert shadow.reports == []
    assert not settings.models_dir.joinpath(restorers.SHADOW).exists()


@pytest.mark.parametrize(
    ("act", "reason"), [("fail", "internal"), ("run_out_of_memory", "out-of-memory")]
)
def test_an_error_of_the_shadow_is_counted_and_the_process_goes_on(
    shadowed: Callable[..., Shadowed], act: str, reason: str
) -> None:
    shadow = shadowed(act)
    pid = shadow.engine.pid
    for _ in range(2):
        assert_works(shadow.engine)
    shadow.wait_for("began", "loaded", *["began", "failed"] * 2)
    assert shadow.reports[-1].reason == reason
    assert shadow.engine.pid == pid


@pytest.mark.parametrize("act", ["crash", "break_the_device"])
def test_a_crash_under_the_shadow_switches_it_off_and_blames_no_job(
    shadowed: Callable[..., Shadowed],
    settings: Settings,
    pool: ThreadPoolExecutor,
    act: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    shadow = shadowed(act)
    pid = shadow.engine.pid
    bystander = begin(pool, shadow.engine, Act.WAIT, "job_2")
    assert_works(shadow.engine)
    shadow.wait_for("began", "loaded", "began", "failed")
    assert (shadow.reports[-1].reason, shadow.reports[-1].pair.new) == (CRASHED, act)
    settings.models_dir.joinpath(restorers.GO).touch()
    assert (bystander.result(30) == 255 - Act.WAIT).all()  # it was begun again, and not blamed
    assert shadow.engine.pid != pid
    assert "died of its shadow" in caplog.text
    assert_works(shadow.engine)
    assert shadow.outcomes[4:] == [], "the shadow is off"


def test_a_job_that_crashes_beside_the_shadow_is_found_out_without_it(
    shadowed: Callable[..., Shadowed],
) -> None:
    shadow = shadowed("hang")
    assert_works(shadow.engine)
    shadow.wait_for("began", "loaded", "began")
    crash = crash_of(shadow.engine, Act.CRASH, "job_2")
    assert shadow.outcomes == ["began", "loaded", "began", "failed"]
    assert shadow.engine.fault(crash, go_on) is Fault.JOB
    assert_works(shadow.engine)


def test_three_deaths_of_which_one_is_the_shadows_leave_the_worker_innocent(
    start: Callable[..., EngineSupervisor],
) -> None:
    shadow = Shadowed(start, "die_loading")
    shadow.wait_for("began", "failed")
    for _ in range(2):
        eventually(lambda: shadow.engine.pid)
        killed = shadow.engine.pid or 0
        os.kill(killed, signal.SIGKILL)
        eventually(lambda: shadow.engine.pid != killed)  # noqa: B023
    eventually(lambda: shadow.engine.pid)
    assert_works(shadow.engine)


def test_if_the_process_is_killed_for_memory_the_shadow_is_blamed_first(
    shadowed: Callable[..., Shadowed], settings: Settings, pool: ThreadPoolExecutor
) -> None:
    shadow = shadowed("invert")
    job = begin(pool, shadow.engine, Act.WAIT, "job_1")
    assert shadow.engine.pid is not None
    os.kill(shadow.engine.pid, signal.SIGKILL)
    shadow.wait_for("began", "loaded", "failed")
    settings.models_dir.joinpath(restorers.GO).touch()
    assert (job.result(30) == 255 - Act.WAIT).all()


def test_a_shadow_that_ends_the_process_while_it_is_loaded_is_switched_off(
    start: Callable[..., EngineSupervisor],
) -> None:
    shadow = Shadowed(start, "die_loading")
    shadow.wait_for("began", "failed")
    assert_works(shadow.engine)
    assert shadow.outcomes == ["began", "failed"]


def test_a_shadow_that_cannot_be_loaded_does_no_harm(
    start: Callable[..., EngineSupervisor],
) -> None:
    shadow = Shadowed(start, "no_such_act")
    shadow.wait_for("began", "failed")
    pid = shadow.engine.pid
    assert_works(shadow.engine)
    assert shadow.engine.pid == pid
