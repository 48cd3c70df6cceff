"""Logs and metrics of every process.

One event is one line. Fields that are bound with ``bind`` are on every line that is logged in the
block, also by libraries and by threads that were started with a copy of the context. Secrets are
removed from the finished line, so it does not matter which field they were in.
"""

from __future__ import annotations

import logging
import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any, TextIO

from prometheus_client import Counter, Histogram, start_http_server
from pythonjsonlogger.core import RESERVED_ATTRS, merge_record_extra
from pythonjsonlogger.json import JsonFormatter

from shared.settings import Settings

# --- counters of all processes ------------------------------------------------

_SECONDS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600)

REQUESTS = Counter(
    "facemend_http_requests", "HTTP requests answered.", ["method", "route", "status"]
)
REQUEST_SECONDS = Histogram(
    "facemend_http_request_seconds",
    "Time to respond to an HTTP request.",
    ["method", "route"],
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
# Gauges of the whole service are in worker.notifier.gauges: each process that imports a gauge would
# export it, with the value 0.


def start_metrics_server(settings: Settings) -> None:
    """Serve the metrics of this process on ``settings.metrics_port``; 0 disables it."""
    if settings.metrics_port:
        start_http_server(settings.metrics_port, settings.metrics_bind)


# --- logs -----------------------------------------------------------------------------------

_bound: ContextVar[dict[str, Any]] = ContextVar("bound", default={})  # noqa: B039  # never changed
#: Libraries that log requests with all headers and bodies at DEBUG.
_VERBOSE = ("boto3", "botocore", "s3transfer", "urllib3", "httpx", "httpcore", "kombu", "amqp")
#: Celery's own lines about messages ("received", "succeeded"). A message is only a doorbell: such a
#: line names no job, and says "succeeded" of a job that failed.
_CELERY = ("celery.app.trace", "celery.worker.strategy")
_SECRETS = re.compile(
    r"(fm_live_[0-9a-f]{32}|whsec_)[0-9A-Za-z+/=]+"  # API keys, webhook secrets; presigned URLs:
    r"|((?:\bX-Amz-(?:Credential|Security-Token|Signature)"
    r"|[?&](?:access_token|key|password|sig|signature|token))=)[^&\s\"']+"
    r"|(\bBearer\s+)[^\s\"',]+"
    r"|(://[^/\s:@]*:)[^/\s@]+(?=@)",  # passwords in URLs
    re.IGNORECASE,
)


@contextmanager
def bind(**fields: Any) -> Iterator[None]:
    """Put ``fields`` (``job_id=…``) on every line that is logged in the block."""
    token = _bound.set({**_bound.get(), **fields})
    try:
        yield
    finally:
        _bound.reset(token)


def configure_logging(settings: Settings, process: str) -> None:
    """Make the whole process log to stderr; ``process`` (api, worker…) is on each line."""
    handler = WholeLines(sys.stderr)
    formatter = JsonLines if settings.log_format == "json" else TextLines
    handler.setFormatter(formatter(process))
    logging.basicConfig(level=settings.log_level, handlers=[handler], force=True)
    logging.captureWarnings(capture=True)
    # No line has them, and collecting them costs time (logging HOWTO, “Optimization”).
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    for name in _CELERY:
        logging.getLogger(name).setLevel(logging.WARNING)
    for name in _VERBOSE:
        logging.getLogger(name).setLevel(max(logging.INFO, logging.root.level))


class WholeLines(logging.StreamHandler[TextIO]):
    """Writes each event with one system call, so lines of several threads never mix.

    Threads need no lock and never wait for each other.
    """

    def createLock(self) -> None:  # noqa: N802  # the name in logging
        self.lock = None

    def emit(self, record: logging.LogRecord) -> None:
        try:
            line = self.format(record) + self.terminator
            os.write(self.stream.fileno(), line.encode(errors="backslashreplace"))
        except Exception:  # noqa: BLE001  # as in every handler: logging must not end the caller
            self.handleError(record)


class JsonLines(JsonFormatter):
    """One JSON object a line: ``at``, ``level``, ``process``, ``logger``, ``event``, fields."""

    def __init__(self, process: str) -> None:
        renamed = {"exc_info": "exception"}
        super().__init__([], json_default=str, json_ensure_ascii=False, rename_fields=renamed)
        self._process = process

    def add_fields(
        self, log_data: dict[str, Any], record: logging.LogRecord, message_dict: dict[str, Any]
    ) -> None:
        fields = dict(_bound.get())
        super().add_fields(fields, record, message_dict)
        log_data |= {
            "at": _time(record),
            "level": record.levelname.lower(),
            "process": self._process,
            "logger": record.name,
            "event": record.getMessage(),
        }
        # A bound or extra field never replaces one of those above.
        log_data |= {name: value for name, value in fields.items() if name not in log_data}

    def serialize_log_record(self, log_data: dict[str, Any]) -> str:
        return redact(super().serialize_log_record(log_data))


class TextLines(logging.Formatter):
    """Lines for people at a terminal."""

    def __init__(self, process: str) -> None:
        super().__init__()
        self._process = process

    def format(self, record: logging.LogRecord) -> str:
        fields = merge_record_extra(record, dict(_bound.get()), RESERVED_ATTRS)
        suffix = "".join(f" {name}={value}" for name, value in fields.items())
        level = "" if record.levelno == logging.INFO else f" {record.levelname.lower()}:"
        line = f"{_time(record)[11:23]} {self._process}{level} {record.getMessage()}{suffix}"
        if record.exc_info:
            line += "\n" + self.formatException(record.exc_info)
        return redact(line)


def redact(text: str) -> str:
    """Replace API keys, webhook secrets, signatures and passwords by ``[secret]``."""
    return _SECRETS.sub(lambda found: next(filter(None, found.groups()), "") + "[secret]", text)


def _time(record: logging.LogRecord) -> str:
    return datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
