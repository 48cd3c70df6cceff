"""Metrics of every process: counters, times, and what the process is.

Gauges of the whole service are in ``worker.notifier.gauges``, those of the HTTP server in
``api.server.gauges``. docs/metrics.md describes each metric.
"""

from __future__ import annotations

import platform
from collections.abc import Callable
from time import perf_counter

from prometheus_client import Counter, Gauge, Histogram, start_http_server
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import REGISTRY

from shared.program_version import program_version
from shared.settings import Settings

#: Upper bounds of the buckets of times, in seconds.
_SECONDS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600)

REQUESTS = Counter(
    "facemend_http_requests", "HTTP requests answered.", ["method", "route", "status"]
)
REQUEST_SECONDS = Histogram(
    "facemend_http_request_seconds",
    "Time to respond to an HTTP request.",
    ["method", "route"],
)
JOBS_UNREPLICATED = Counter(
    "facemend_jobs_unreplicated", "Jobs accepted before enough replicas of Redis had them."
)
JOBS_CREATED = Counter("facemend_jobs_created", "Jobs accepted.", ["model", "priority"])
JOBS_ENDED = Counter(
    "facemend_jobs_ended",
    "Jobs that reached a terminal state; code is the problem of a failed job.",
    ["model", "status", "code"],
)
JOBS_RELEASED = Counter(
    "facemend_jobs_released", "Runs that went back into the queue.", ["model", "reason"]
)
JOBS_REAPED = Counter("facemend_jobs_reaped", "Jobs whose lease or deadline was over.", ["status"])
JOBS_REVIVED = Counter(
    "facemend_jobs_revived",
    "Jobs rebuilt from a manifest without a record, by their status then.",
    ["status"],
)
SWEPT = Counter("facemend_swept", "Objects without an owner that were deleted.", ["what"])
ENGINE_DEATHS = Counter("facemend_engine_deaths", "Engine processes that died.", ["cause"])
MODELS_REPLACED = Counter(
    "facemend_models_replaced",
    "Files of served models that were replaced; changed: the worker serves the new one.",
    ["model", "outcome"],
)
STAGE_SECONDS = Histogram(
    "facemend_stage_seconds", "Time a job spent in a stage.", ["model", "stage"], buckets=_SECONDS
)
BATCH_FACES = Histogram(
    "facemend_batch_faces",
    "Faces in one batch of the network.",
    ["model"],
    buckets=(1, 2, 4, 8, 16, 32, 64),
)
BATCH_WAIT_SECONDS = Histogram(
    "facemend_batch_wait_seconds",
    "Time a face waited for its batch.",
    ["model"],
    buckets=(0.005, *_SECONDS),
)
FACES = Counter("facemend_faces", "Faces found, by the result for the face.", ["model", "status"])
CACHE_LOOKUPS = Counter(
    "facemend_cache_lookups",
    "Lookups of the result of an equal job.",
    ["model", "outcome"],
)
SHADOW_RUNS = Counter(
    "facemend_shadow_runs",
    "Jobs that a model restored again in the shadow of a served one, by outcome.",
    ["model", "over", "outcome", "reason"],
)
SHADOW_FIGURES = Counter(
    "facemend_shadow_figures",
    "Sums of the figures of shadow runs.",
    ["model", "over", "figure"],
)
DOORBELLS = Counter(
    "facemend_doorbells", "Doorbells sent, by process and outcome.", ["by", "outcome"]
)
MESSAGES_DISCARDED = Counter(
    "facemend_messages_discarded", "Messages in the queue that were no doorbell.", ["reason"]
)
DELIVERY_TRIES = Counter(
    "facemend_delivery_tries", "Attempts to deliver a webhook.", ["event", "outcome"]
)
ENDPOINTS_CHANGED = Counter(
    "facemend_endpoints_changed",
    "Webhook endpoints disabled (gone, failing) or enabled again.",
    ["to"],
)
DELIVERY_SECONDS = Histogram(
    "facemend_delivery_seconds",
    "Time of one attempt to deliver a webhook.",
    ["outcome"],
    buckets=_SECONDS,
)
REDIS_SECONDS = Histogram(
    "facemend_redis_seconds",
    "Time of one script in Redis, with its way there and back.",
    ["script"],
    buckets=(0.0005, 0.001, 0.0025, 0.005, 0.01, 0.05, 0.25, 1, 3),
)
REDIS_ERRORS = Counter("facemend_redis_errors", "Calls to Redis that failed.", ["kind"])
S3_SECONDS = Histogram(
    "facemend_s3_seconds",
    "Time of one operation of the object storage until its response begins, with retries.",
    ["operation"],
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
)
S3_ERRORS = Counter("facemend_s3_errors", "Operations of the object storage that failed.", ["kind"])
DEVICE_BUSY_SECONDS = Counter(
    "facemend_device_busy_seconds",
    "Time in which the device ran batches; its rate is the share of time in use.",
    ["model"],
)
DEVICE_MEMORY_BYTES = Gauge(
    "facemend_device_memory_bytes",
    "Memory of the device at the last batch: used by all processes, and in total.",
    ["kind"],
)
BUILD_INFO = Gauge(
    "facemend_build_info",
    "Always 1: version of the program, by process.",
    ["version", "process", "python"],
)

#: The values of label ``kind`` of the errors of Redis and of the object storage.
REDIS_FAILURES = ("unavailable", "refused", "bug")
S3_FAILURES = ("no-response", "server-error", "refused")
#: The values of label ``outcome`` of a lookup of an equal job's result.
CACHE_OUTCOMES = ("hit", "miss", "wait")


def identify_process(process: str) -> None:
    """Export what this process is (``api``, ``worker``, ``notifier``), and its errors as 0.

    A counter that appears only with the first error has no increase that an alert could see.
    """
    BUILD_INFO.labels(program_version(), process, platform.python_version()).set(1)
    for kind in REDIS_FAILURES:
        REDIS_ERRORS.labels(kind)
    for kind in S3_FAILURES:
        S3_ERRORS.labels(kind)


class timed:  # noqa: N801  # used as a function, like ``contextlib.suppress``
    """Observe the seconds of the block, also if it raises.

    A class, because each request enters it several times, and a generator costs more.
    """

    __slots__ = ("_began_s", "_histogram")

    def __init__(self, histogram: Histogram) -> None:
        self._histogram = histogram

    def __enter__(self) -> None:
        self._began_s = perf_counter()

    def __exit__(self, *_: object) -> None:
        self._histogram.observe(perf_counter() - self._began_s)


def request_exemplar(request_id: str) -> dict[str, str] | None:
    """Return the exemplar of a sample: the request to look for in the logs, if there is one."""
    return {"request_id": request_id} if request_id else None


def exposition(accept: str) -> tuple[bytes, str]:
    """Return the metrics of this process and their content type, in a format that ``accept`` names.

    OpenMetrics if it is accepted, with exemplars; else the text format of Prometheus.
    """
    encode: Callable[..., bytes]
    encode, content_type = choose_encoder(accept)
    return encode(REGISTRY), content_type


def start_metrics_server(settings: Settings) -> None:
    """Serve the metrics of this process on ``settings.metrics_port``; 0 disables it."""
    if settings.metrics_port:
        start_http_server(settings.metrics_port, settings.metrics_bind)
