"""Counters of what may happen to jobs and webhooks, exported as 0 before it happens.

A counter that appears only with the first failure has no increase that an alert could see. See
"Existing vs missing metrics", https://prometheus.io/docs/practices/instrumentation/.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from shared.errors import EngineError, ExecutionError, FacemendError, InputError
from shared.jobs.job import Event, Release, Status
from shared.telemetry import (
    CACHE_LOOKUPS,
    CACHE_OUTCOMES,
    DELIVERY_TRIES,
    DOORBELLS,
    ENDPOINTS_CHANGED,
    ENGINE_DEATHS,
    JOBS_ENDED,
    JOBS_REAPED,
    JOBS_RELEASED,
    MODELS_REPLACED,
)

#: How an engine process usually dies; 70: the context of its device broke.
_DEATHS = ("SIGKILL", "SIGSEGV", "SIGABRT", "SIGBUS", "exit code 70")


def failure_codes() -> list[str]:
    """Return the problems with which a job can fail, sorted."""
    kinds = (InputError, EngineError, ExecutionError)
    return sorted({error.code for kind in kinds for error in _all(kind)})


def zero_run_counters(models: Iterable[str]) -> None:
    """Export what a worker of these models counts as 0."""
    for model in models:
        for status in (Status.SUCCEEDED, Status.CANCELED):
            JOBS_ENDED.labels(model, status, "")
        for code in failure_codes():
            JOBS_ENDED.labels(model, Status.FAILED, code)
        for reason in Release:
            JOBS_RELEASED.labels(model, reason)
        for outcome in CACHE_OUTCOMES:
            CACHE_LOOKUPS.labels(model, outcome)
        for outcome in ("changed", "refused"):
            MODELS_REPLACED.labels(model, outcome)
    for cause in _DEATHS:
        ENGINE_DEATHS.labels(cause)


def zero_notifier_counters() -> None:
    """Export what a notifier counts as 0."""
    for status in (Status.QUEUED, Status.FAILED, Status.CANCELED):
        JOBS_REAPED.labels(status)
    for outcome in ("sent", "failed"):
        DOORBELLS.labels("notifier", outcome)
    for event in Event:
        for outcome in ("delivered", "failed", "dead"):
            DELIVERY_TRIES.labels(event, outcome)
    for to in ("gone", "failing", "enabled"):
        ENDPOINTS_CHANGED.labels(to)


def _all(kind: type[FacemendError]) -> Iterator[type[FacemendError]]:
    yield kind
    for child in kind.__subclasses__():
        yield from _all(child)
