"""When is it the worker's own fault that its child dies again and again?"""

from __future__ import annotations

from worker.engine_process.crash_attribution import Crashes
from worker.engine_process.crash_report import Hand


def crash(crashes: Crashes, *jobs: str, marked: bool = False) -> None:
    """Of these jobs, and nobody can tell which."""
    crashes.died([Hand(job, marked) for job in jobs], jobs)


def test_three_different_jobs_in_a_row_and_none_that_went_well_speak_against_the_worker() -> None:
    crashes = Crashes()
    for job in ("a", "b"):
        crash(crashes, job)
        crashes.charged(job)
        assert not crashes.worker_at_fault
    crash(crashes, "c")
    assert crashes.worker_at_fault
    assert crashes.marked == ["a", "b"]


def test_one_job_that_crashes_three_times_does_not() -> None:
    crashes = Crashes()
    for _ in range(3):
        crash(crashes, "a")
    assert not crashes.worker_at_fault


def test_a_job_that_goes_well_clears_the_worker() -> None:
    crashes = Crashes()
    for job in ("a", "b"):
        crash(crashes, job)
        crashes.charged(job)
    crashes.went_well()
    crash(crashes, "c")
    assert not crashes.worker_at_fault
    assert crashes.marked == []


def test_of_several_at_once_nobody_knows_which_one_it_was() -> None:
    crashes = Crashes()
    crash(crashes, "a", "b", "c", "d")
    assert not crashes.worker_at_fault


def test_a_child_that_dies_three_times_with_nothing_to_do_speaks_against_the_worker() -> None:
    crashes = Crashes()
    for _ in range(3):
        assert not crashes.worker_at_fault
        crash(crashes)
    assert crashes.worker_at_fault


def test_who_comes_as_a_suspect_from_another_worker_speaks_against_itself() -> None:
    crashes = Crashes()
    for job in ("a", "b", "c"):
        crash(crashes, job, marked=True)
    assert not crashes.worker_at_fault


def test_who_became_a_suspect_here_may_still_speak_against_the_worker() -> None:
    crashes = Crashes()
    crash(crashes, "a", "b", "c")
    for job in ("a", "b", "c"):
        assert not crashes.worker_at_fault
        crash(crashes, job, marked=True)
    assert crashes.worker_at_fault
