"""Logs of every process.

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

from pythonjsonlogger.core import RESERVED_ATTRS, merge_record_extra
from pythonjsonlogger.json import JsonFormatter

from shared.settings import Settings

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
#: What every secret of `_SECRETS` contains. To look for these is ten times as fast.
_HINTS = ("fm_live_", "whsec_", "=", "bearer", "://")


@contextmanager
def bind(**fields: Any) -> Iterator[None]:
    """Put ``fields`` (``job_id=…``) on every line that is logged in the block."""
    token = _bound.set({**_bound.get(), **fields})
    try:
        yield
    finally:
        _bound.reset(token)


def bound_fields() -> dict[str, Any]:
    """Return the fields that are on every line that is logged here."""
    return dict(_bound.get())


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
    lower = text.lower()
    if not any(hint in lower for hint in _HINTS):
        return text
    return _SECRETS.sub(lambda found: next(filter(None, found.groups()), "") + "[secret]", text)


def _time(record: logging.LogRecord) -> str:
    return datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
