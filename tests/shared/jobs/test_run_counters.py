from __future__ import annotations

from prometheus_client import REGISTRY

from shared.errors import Poisoned
from shared.jobs.run_counters import failure_codes, zero_notifier_counters, zero_run_counters
from worker.engine_process.lost_device import EXIT_DEVICE_BROKEN


def value(name: str, **labels: str) -> float | None:
    return REGISTRY.get_sample_value(f"facemend_{name}_total", labels)


def test_each_failure_of_a_job_is_exported_as_0_before_it_happens() -> None:
    assert value("jobs_ended", model="new", status="failed", code=Poisoned.code) is None
    zero_run_counters(["new"])
    assert {"poisoned", "corrupt-image", "out-of-memory", "worker-lost"} <= set(failure_codes())
    for code in failure_codes():
        assert value("jobs_ended", model="new", status="failed", code=code) == 0
    assert value("jobs_released", model="new", reason="crash") == 0


def test_the_first_death_of_an_engine_process_is_an_increase() -> None:
    zero_run_counters([])
    for cause in ("SIGKILL", "SIGSEGV", f"exit code {EXIT_DEVICE_BROKEN}"):
        assert value("engine_deaths", cause=cause) is not None


def test_a_notifier_exports_dead_letters_before_there_is_one() -> None:
    zero_notifier_counters()
    labels = {"event": "restoration.succeeded", "outcome": "dead"}
    assert value("delivery_tries", **labels) is not None
    assert value("endpoints_changed", to="failing") is not None
