"""One attempt of a delivery: a signed HTTP request to the receiver, and its result."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from shared.errors import InputError
from shared.net.fetcher import Fetcher
from shared.webhooks.signing import sign

MAX_REPLY_BYTES = 16_384
GONE = 410


@dataclass(frozen=True, slots=True)
class Attempt:
    """The result of one attempt at ``at`` (Unix seconds).

    ``status_code`` is None without a response. ``sent`` is False if nothing was sent to the
    receiver; then the failure says nothing about the receiver.
    """

    at: float
    status_code: int | None
    latency_ms: int
    error: str | None
    retry_after_s: float | None = None
    sent: bool = True

    @property
    def delivered(self) -> bool:
        return self.status_code is not None and 200 <= self.status_code < 300

    @property
    def gone(self) -> bool:
        """Whether the receiver wants no more webhooks at this URL."""
        return self.status_code == GONE

    def record(self) -> dict[str, Any]:
        """Return the entry for the log of the delivery."""
        return {
            "at": self.at,
            "status_code": self.status_code,
            "latency_ms": self.latency_ms,
            "error": self.error,
        }


def send(
    fetcher: Fetcher,
    *,
    url: str,
    event_id: str,
    body: bytes,
    secrets: Sequence[str],
    timeout_s: float,
    traceparent: str = "",
) -> Attempt:
    """Send a webhook now, once. Never raises for a failure of the receiver: see ``error``.

    ``traceparent``: the step of this attempt in the trace of the job (W3C Trace Context), or empty.
    """
    at = time.time()
    started = time.monotonic()
    headers = {"Content-Type": "application/json"} | sign(secrets, event_id, int(at), body)
    if traceparent:
        headers["traceparent"] = traceparent
    status_code = retry_after_s = error = None
    try:
        reply = fetcher.post(
            url, body, headers, timeout_s=timeout_s, max_reply_bytes=MAX_REPLY_BYTES
        )
    except InputError as problem:
        error = problem.detail
    else:
        status_code, retry_after_s = reply.status_code, reply.retry_after_s
        if not 200 <= status_code < 300:
            error = f"The receiver responded with status {status_code}"
    latency_ms = round((time.monotonic() - started) * 1000)
    return Attempt(at, status_code, latency_ms, error, retry_after_s)
