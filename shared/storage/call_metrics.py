"""Times and failures of the calls that boto3 makes, through its events.

https://docs.aws.amazon.com/boto3/latest/guide/events.html. Botocore passes one ``context`` to both
events of a call, so calls of many threads do not mix.
"""

from __future__ import annotations

from time import perf_counter
from typing import TYPE_CHECKING, Any

from shared.telemetry import S3_ERRORS, S3_SECONDS

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

_BEGAN = "facemend_began_s"
#: Statuses that are an answer and not a failure: there is no such object, or it was changed.
_ANSWERS = frozenset({404, 412})


def measure_calls(client: S3Client) -> None:
    """Count the calls of this client in the metrics of the process."""
    client.meta.events.register("before-call.s3", _begin)
    client.meta.events.register("after-call.s3", _end)
    client.meta.events.register("after-call-error.s3", _fail)


def _begin(context: dict[str, Any], **_: Any) -> None:
    context[_BEGAN] = perf_counter()


def _end(model: Any, context: dict[str, Any], http_response: Any, **_: Any) -> None:
    _observe(model.name, context)
    status = http_response.status_code
    if status >= 500:
        S3_ERRORS.labels("server-error").inc()
    elif status >= 400 and status not in _ANSWERS:
        S3_ERRORS.labels("refused").inc()


def _fail(context: dict[str, Any], event_name: str, **_: Any) -> None:
    _observe(event_name.rpartition(".")[2], context)
    S3_ERRORS.labels("no-response").inc()


def _observe(operation: str, context: dict[str, Any]) -> None:
    S3_SECONDS.labels(operation).observe(perf_counter() - context[_BEGAN])
