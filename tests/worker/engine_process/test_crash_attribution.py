"""Which job ended the engine process, and when is it the worker's own fault?"""

from __future__ import annotations

from worker.engine_process.crash_attribution import (
    CrashAttribution,
    InFlightJob,
    find_suspects,
)


def crash(crashes: CrashAttribution, *jobs: str, was_suspect: bool = False) -> None:
    """The process dies with these jobs in flight; each of them may be the cause."""
    crashes.record_crash([InFlightJob(job, was_suspect) for job in jobs], jobs)


def test_crashes_by_three_different_jobs_without_a_success_are_the_workers_fault() -> None:
    crashes = CrashAttribution()
    for job in ("a", "b"):
        crash(crashes, job)
        crashes.record_charge(job)
        assert not crashes.worker_at_fault
    crash(crashes, "c")
    assert crashes.worker_at_fault
    assert crashes.charged_jobs == ["a", "b"]


def test_three_crashes_by_one_job_are_not_the_workers_fault() -> None:
    crashes = CrashAttribution()
    for _ in range(3):
        crash(crashes, "a")
    assert not crashes.worker_at_fault


def test_a_success_clears_the_worker() -> None:
    crashes = CrashAttribution()
    for job in ("a", "b"):
        crash(crashes, job)
        crashes.record_charge(job)
    crashes.record_success()
    crash(crashes, "c")
    assert not crashes.worker_at_fault
    assert crashes.charged_jobs == []


def test_a_crash_with_several_jobs_in_flight_is_no_evidence_against_the_worker() -> None:
    crashes = CrashAttribution()
    crash(crashes, "a", "b", "c", "d")
    assert not crashes.worker_at_fault


def test_three_deaths_without_a_job_are_the_workers_fault() -> None:
    crashes = CrashAttribution()
    for _ in range(3):
        assert not crashes.worker_at_fault
        crash(crashes)
    assert crashes.worker_at_fault


def test_crashes_by_suspects_from_another_worker_are_not_the_workers_fault() -> None:
    crashes = CrashAttribution()
    for job in ("a", "b", "c"):
        crash(crashes, job, was_suspect=True)
    assert not crashes.worker_at_fault


def test_crashes_by_jobs_first_suspected_here_are_evidence_against_the_worker() -> None:
    crashes = CrashAttribution()
    crash(crashes, "a", "b", "c")
    for job in ("a", "b", "c"):
        assert not crashes.worker_at_fault
        crash(crashes, job, was_suspect=True)
    assert crashes.worker_at_fault


_STACK = """Fatal Python error: Segmentation fault

Thread 0x00007f0000000001 (most recent call first):
  File "batching.py", line 1 in _work

Current thread 0x00007f0000000002 (most recent call first):
  File "restorer.py", line 1 in restore
"""
_JOBS = (
    InFlightJob("job_1", thread=0x7F0000000001),
    InFlightJob("job_2", thread=0x7F0000000002),
    InFlightJob("job_3"),
)


def test_the_job_whose_thread_crashed_is_the_suspect() -> None:
    assert find_suspects(_JOBS, _STACK, None) == ("job_2",)


def test_after_a_crash_in_a_thread_of_no_job_all_jobs_are_suspects() -> None:
    of_the_batcher = _STACK.replace("0002 (", "0009 (")
    assert find_suspects(_JOBS, of_the_batcher, None) == ("job_1", "job_2", "job_3")


def test_without_crash_output_all_jobs_are_suspects() -> None:
    assert find_suspects(_JOBS, "", None) == ("job_1", "job_2", "job_3")


def test_a_job_with_recent_progress_is_no_suspect_of_a_stall() -> None:
    jobs = [
        InFlightJob("job_1", silent_s=60.25),
        InFlightJob("job_2", silent_s=3),
        InFlightJob("job_3", silent_s=59),
    ]
    assert find_suspects(jobs, "", 60) == ("job_1", "job_3")
