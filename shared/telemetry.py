"""Logs and metrics of every process.

One event is one line. What is bound with ``bind`` stands on every line of the block, whoever
writes it, also in threads that were started with a copy of the context. Secrets are removed from
the finished line, wherever they came from.
"""

from __future__ import annotations

import json
import logging
import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any, TextIO

from prometheus_client import Counter, Gauge, Histogram, start_http_server

from shared.settings import Settings

# --- metrics: all of them, for every process ------------------------------------------------

_SECONDS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600)

REQUESTS = Counter(
    "facemend_http_requests", "HTTP requests answered.", ["method", "route", "status"]
)
REQUEST_SECONDS = Histogram(
    "facemend_http_request_seconds", "Time to answer an HTTP request.", ["method", "route"]
)
JOBS_CREATED = Counter("facemend_jobs_created", "Jobs taken.", ["model", "priority"])
JOBS_ENDED = Counter(
    "facemend_jobs_ended",
    "Jobs that reached a terminal state; code is the problem of a failed one.",
    ["model", "status", "code"],
)
JOBS_RELEASED = Counter(
    "facemend_jobs_released", "Runs that went back into the queue.", ["model", "reason"]
)
JOBS_REAPED = Counter(
    "facemend_jobs_reaped", "Jobs taken from silent workers or past a deadline.", ["status"]
)
JOBS_REVIVED = Counter(
    "facemend_jobs_revived", "Manifests that had no record, by what became of the job.", ["status"]
)
SWEPT = Counter("facemend_swept", "Objects that had no owner any more, and were deleted.", ["what"])
ENGINE_DEATHS = Counter(
    "facemend_engine_deaths", "Engine processes that died under a worker.", ["cause"]
)
STAGE_SECONDS = Histogram(
    "facemend_stage_seconds", "Time a job spent in a stage.", ["model", "stage"], buckets=_SECONDS
)
BATCH_FACES = Histogram(
    "facemend_batch_faces",
    "Faces that went through the network together.",
    ["model"],
    buckets=(1, 2, 4, 8, 16, 32, 64),
)
BATCH_WAIT_SECONDS = Histogram(
    "facemend_batch_wait_seconds",
    "Time a face waited for its batch.",
    ["model"],
    buckets=(0.005, *_SECONDS),
)
FACES = Counter("facemend_faces", "Faces found, by what was done.", ["model", "status"])
DOORBELLS = Counter(
    "facemend_doorbells", "Doorbells rung, by whom and whether it went out.", ["by", "outcome"]
)
DELIVERY_TRIES = Counter(
    "facemend_delivery_tries", "Tries to deliver a webhook.", ["event", "outcome"]
)
ENDPOINTS_CHANGED = Counter(
    "facemend_endpoints_changed",
    "Webhook endpoints disabled (gone, failing) or enabled again.",
    ["to"],
)
QUEUED = Gauge("facemend_jobs_queued", "Jobs that wait.", ["model", "priority"])
RUNNING = Gauge("facemend_jobs_running", "Jobs under a lease.")
DELIVERIES_PENDING = Gauge("facemend_deliveries_pending", "Webhooks not delivered yet.")


def start_metrics_server(settings: Settings) -> None:
    """Serve the metrics of this process on ``settings.metrics_port``; with 0, do nothing."""
    if settings.metrics_port:
        start_http_server(settings.metrics_port)


# --- logs -----------------------------------------------------------------------------------

_bound: ContextVar[dict[str, Any]] = ContextVar("bound", default={})  # noqa: B039  # never changed
#: Attributes that every LogRecord has; all others were given as ``extra``.
_OWN = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
#: Libraries that at DEBUG write requests with all headers and bodies.
_TALKATIVE = ("boto3", "botocore", "s3transfer", "urllib3", "httpx", "httpcore", "kombu", "amqp")
_SECRETS = re.compile(
    r"(fm_live_[0-9a-f]{32}|whsec_)[0-9A-Za-z+/=]+"  # API keys, webhook secrets; signed addresses:
    r"|((?:\bX-Amz-(?:Credential|Security-Token|Signature)"
    r"|[?&](?:access_token|key|password|sig|signature|token))=)[^&\s\"']+"
    r"|(\bBearer\s+)[^\s\"',]+"
    r"|(://[^/\s:@]*:)[^/\s@]+(?=@)",  # passwords in addresses
    re.IGNORECASE,
)


@contextmanager
def bind(**fields: Any) -> Iterator[None]:
    """Put ``fields`` (``job_id=…``) on every line logged inside the block."""
    token = _bound.set({**_bound.get(), **fields})
    try:
        yield
    finally:
        _bound.reset(token)


def configure_logging(settings: Settings, process: str) -> None:
    """Log to stderr, for the whole process; ``process`` (api, worker…) stands on each line."""
    handler = WholeLines(sys.stderr)
    formatter = JsonLines if settings.log_format == "json" else TextLines
    handler.setFormatter(formatter(process))
    logging.basicConfig(level=settings.log_level, handlers=[handler], force=True)
    logging.captureWarnings(capture=True)
    # On no line of ours, and asked for anew at each (logging HOWTO, “Optimization”).
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    for name in _TALKATIVE:
        logging.getLogger(name).setLevel(max(logging.INFO, logging.root.level))


class WholeLines(logging.StreamHandler[TextIO]):
    """Writes each event in one call of the system, which keeps it whole.

    So threads need no lock, and none waits for the line of another.
    """

    def createLock(self) -> None:  # noqa: N802  # logging's name
        self.lock = None

    def emit(self, record: logging.LogRecord) -> None:
        try:
            line = self.format(record) + self.terminator
            os.write(self.stream.fileno(), line.encode(errors="backslashreplace"))
        except Exception:  # noqa: BLE001  # as every handler does: a log must not end what it tells of
            self.handleError(record)


class JsonLines(logging.Formatter):
    """One JSON object a line."""

    def __init__(self, process: str) -> None:
        super().__init__()
        self._process = process

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "at": _time(record),
            "level": record.levelname.lower(),
            "process": self._process,
            "logger": record.name,
            "event": record.getMessage(),
        }
        # Whatever somebody calls a field: the line's own stay what they are.
        line |= {name: value for name, value in _fields(record).items() if name not in line}
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return redact(json.dumps(line, ensure_ascii=False, default=str))


class TextLines(logging.Formatter):
    """For people at a terminal."""

    def __init__(self, process: str) -> None:
        super().__init__()
        self._process = process

    def format(self, record: logging.LogRecord) -> str:
        fields = "".join(f" {name}={value}" for name, value in _fields(record).items())
        level = "" if record.levelno == logging.INFO else f" {record.levelname.lower()}:"
        line = f"{_time(record)[11:23]} {self._process}{level} {record.getMessage()}{fields}"
        if record.exc_info:
            line += "\n" + self.formatException(record.exc_info)
        return redact(line)


def redact(text: str) -> str:
    """The text without API keys, webhook secrets, signatures and passwords."""
    return _SECRETS.sub(lambda found: next(filter(None, found.groups()), "") + "[secret]", text)


def _fields(record: logging.LogRecord) -> dict[str, Any]:
    """What was bound, and what this event says of itself."""
    extra = {name: value for name, value in vars(record).items() if name not in _OWN}
    return _bound.get() | extra


def _time(record: logging.LogRecord) -> str:
    return datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
