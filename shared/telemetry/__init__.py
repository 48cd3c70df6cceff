"""Logs, metrics, traces and reports of errors of every process."""

from __future__ import annotations

from shared.settings import Settings
from shared.telemetry.error_reports import configure_error_reports
from shared.telemetry.logs import (
    JsonLines,
    TextLines,
    WholeLines,
    bind,
    configure_logging,
    redact,
)
from shared.telemetry.metrics import (
    BATCH_FACES,
    BATCH_WAIT_SECONDS,
    BUILD_INFO,
    CACHE_LOOKUPS,
    CACHE_OUTCOMES,
    DELIVERY_SECONDS,
    DELIVERY_TRIES,
    DEVICE_BUSY_SECONDS,
    DEVICE_MEMORY_BYTES,
    DOORBELLS,
    ENDPOINTS_CHANGED,
    ENGINE_DEATHS,
    FACES,
    JOBS_CREATED,
    JOBS_ENDED,
    JOBS_REAPED,
    JOBS_RELEASED,
    JOBS_REVIVED,
    JOBS_UNREPLICATED,
    MESSAGES_DISCARDED,
    MODELS_REPLACED,
    REDIS_ERRORS,
    REDIS_FAILURES,
    REDIS_SECONDS,
    REQUEST_SECONDS,
    REQUESTS,
    S3_ERRORS,
    S3_FAILURES,
    S3_SECONDS,
    SHADOW_FIGURES,
    SHADOW_RUNS,
    STAGE_SECONDS,
    SWEPT,
    exposition,
    identify_process,
    request_exemplar,
    start_metrics_server,
    timed,
)
from shared.telemetry.tracing import (
    Span,
    configure_tracing,
    current_span,
    current_traceparent,
    flush_traces,
    start_span,
    traced,
)

__all__ = [
    "BATCH_FACES",
    "BATCH_WAIT_SECONDS",
    "BUILD_INFO",
    "CACHE_LOOKUPS",
    "CACHE_OUTCOMES",
    "DELIVERY_SECONDS",
    "DELIVERY_TRIES",
    "DEVICE_BUSY_SECONDS",
    "DEVICE_MEMORY_BYTES",
    "DOORBELLS",
    "ENDPOINTS_CHANGED",
    "ENGINE_DEATHS",
    "FACES",
    "JOBS_CREATED",
    "JOBS_ENDED",
    "JOBS_REAPED",
    "JOBS_RELEASED",
    "JOBS_REVIVED",
    "JOBS_UNREPLICATED",
    "MESSAGES_DISCARDED",
    "MODELS_REPLACED",
    "REDIS_ERRORS",
    "REDIS_FAILURES",
    "REDIS_SECONDS",
    "REQUESTS",
    "REQUEST_SECONDS",
    "S3_ERRORS",
    "S3_FAILURES",
    "S3_SECONDS",
    "SHADOW_FIGURES",
    "SHADOW_RUNS",
    "STAGE_SECONDS",
    "SWEPT",
    "JsonLines",
    "Span",
    "TextLines",
    "WholeLines",
    "bind",
    "configure_error_reports",
    "configure_logging",
    "configure_tracing",
    "current_span",
    "current_traceparent",
    "exposition",
    "flush_traces",
    "identify_process",
    "observe_process",
    "redact",
    "request_exemplar",
    "start_metrics_server",
    "start_span",
    "timed",
    "traced",
]


def observe_process(settings: Settings, process: str) -> None:
    """Begin the metrics, traces and reports of errors of this process; after the logs.

    ``process`` is api, worker or notifier. Raises SettingsInvalid.
    """
    identify_process(process)
    configure_tracing(settings, process)
    configure_error_reports(settings, process)
